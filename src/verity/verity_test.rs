use super::*;
use proptest::prelude::*;

fn shape(data_blocks: u64) -> Vec<(u64, u64)> {
    Layout::new(data_blocks).unwrap().levels().iter().map(|level| (level.first, level.blocks)).collect()
}

#[test]
fn levels_lie_from_the_top_down() {
    assert_eq!(shape(1), []);
    assert_eq!(shape(2), [(0, 1)]);
    assert_eq!(shape(128), [(0, 1)]);
    assert_eq!(shape(129), [(1, 2), (0, 1)]);
    assert_eq!(shape(128 * 128 + 1), [(3, 129), (1, 2), (0, 1)]);
    assert_eq!(Layout::new(MAX_DATA_BLOCKS).unwrap().levels().len(), 5);
    assert_eq!((Layout::new(0), Layout::new(MAX_DATA_BLOCKS + 1), Layout::new(u64::MAX)), (None, None, None));
}

#[test]
fn a_path_leads_from_a_block_to_the_root() {
    let layout = Layout::new(128 * 128 + 1).unwrap();
    let path = |index| layout.path(index).map(|place| (place.block, place.slot)).collect::<Vec<_>>();
    assert_eq!(path(0), [(3, 0), (1, 0), (0, 0)]);
    assert_eq!(path(129), [(4, 1), (1, 1), (0, 0)]);
    assert_eq!(path(128 * 128), [(131, 0), (2, 0), (0, 1)]);
    assert_eq!(Layout::new(1).unwrap().path(0).count(), 0);
}

proptest! {
    #[test]
    fn every_digest_has_a_place_of_its_own_inside_the_tree(data_blocks in 1u64..100_000, index in any::<prop::sample::Index>()) {
        let layout = Layout::new(data_blocks).unwrap();
        let total: u64 = layout.levels().iter().map(|level| level.blocks).sum();
        prop_assert_eq!(layout.bytes(), total * BLOCK_U64);
        let at = index.index(usize::try_from(data_blocks).unwrap()) as u64;
        let path: Vec<_> = layout.path(at).collect();
        prop_assert_eq!(path.len(), layout.levels().len());
        for (place, level) in path.iter().zip(layout.levels()) {
            prop_assert!((level.first..level.first + level.blocks).contains(&place.block) && place.slot < FANOUT);
        }
        if let Some(top) = path.last() {
            prop_assert_eq!(top.block, 0);
        }
        if at > 0 && !path.is_empty() {
            let before = layout.path(at - 1).next().unwrap();
            prop_assert!(before != path[0], "two blocks of data share a digest's place");
        }
    }
}
