use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn never_more_at_once_than_there_are_slots_and_everyone_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let (running, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _slot = take_of(dir.path(), 2).unwrap();
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 2);
    assert_eq!(done.load(Ordering::SeqCst), 8);
}
