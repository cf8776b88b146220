use super::*;
use crate::image::tree::{Inode, Meta};
use crate::progress::Silent;

/// Files of these contents.
struct Texts(Vec<Vec<u8>>);

impl Texts {
    fn tree(&self) -> Tree {
        let mut tree = Tree::new(10_000);
        for (index, text) in (0..).zip(&self.0) {
            let kind = Kind::File { size: text.len() as u64, content: ContentId { source: 0, index } };
            let id = tree.add(Inode { meta: Meta::default(), kind }).unwrap();
            tree.link(InodeId::ROOT, format!("{index}").as_bytes(), id).unwrap();
        }
        tree
    }
}

impl Contents for Texts {
    fn deliver(&self, wanted: &[ContentId], sink: &mut Sink<'_>) -> Result<(), ImageError> {
        wanted.iter().try_for_each(|&content| sink(content, &mut self.0[content.index as usize].as_slice()))
    }

    fn unreadable(&self, _: ContentId, error: StoreError) -> ImageError {
        panic!("{error}")
    }
}

#[test]
fn what_is_estimated_is_no_more_than_what_it_comes_to() {
    let words = |count: u32| (0..count).flat_map(|number| format!("{} ", number % 777).into_bytes()).collect();
    // Like programs: a half of it shrinks to little, a half not at all.
    let noise = |size: u32| {
        (0..size).scan(size, |state, _| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 24) as u8)
        })
    };
    let texts = Texts(
        (1..300).map(|size| if size % 2 == 0 { words(size * 50) } else { noise(size * 200).collect() }).collect(),
    );
    let tree = texts.tree();
    let data: u64 = texts.0.iter().map(|text| text.len() as u64).sum();
    for compression in RootCompression::ALL {
        let estimated = estimated_bytes(&tree, compression);
        let place = (tempfile::tempfile().unwrap(), Path::new("a test"));
        let packed = pack(&tree, &texts, place, (Identity::OfContents, compression), &Silent).unwrap();
        assert!(estimated <= packed.bytes + packed.bytes / 100, "{compression}: {estimated}, {}", packed.bytes);
        assert!(estimated >= data / 6, "{compression}");
        assert_eq!(compression == RootCompression::None, estimated >= data);
    }
}
