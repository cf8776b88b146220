//! Numbered pieces of work, done by several threads. Law: knows nothing of the work.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How often the caller hears that it goes on.
const TICK: Duration = Duration::from_millis(100);

/// As many threads as this machine runs at once, but no more than `most`, and at least one.
pub(crate) fn at_most(most: usize) -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).min(most).max(1)
}

/// Does the pieces `0..count` by `threads` threads, each with a `worker` of its own. `take` has the results in the caller's thread, in the
/// order in which they come, and nothing every tenth of a second. After an error no new piece is begun.
pub(crate) fn each<T, E, W>(
    (count, threads): (usize, usize),
    worker: impl Fn() -> W + Sync,
    mut take: impl FnMut(Option<(usize, Result<T, E>)>),
) where
    T: Send,
    E: Send,
    W: FnMut(usize) -> Result<T, E>,
{
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, finished) = mpsc::channel();
        for _ in 0..threads.min(count) {
            let (sender, next, worker) = (sender.clone(), &next, &worker);
            scope.spawn(move || {
                let mut work = worker();
                loop {
                    let piece = next.fetch_add(1, Ordering::Relaxed);
                    if piece >= count {
                        break;
                    }
                    let result = work(piece);
                    if result.is_err() {
                        next.store(count, Ordering::Relaxed);
                    }
                    if sender.send((piece, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        loop {
            match finished.recv_timeout(TICK) {
                Ok(result) => take(Some(result)),
                Err(RecvTimeoutError::Timeout) => take(None),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn every_piece_is_done_once_and_none_after_an_error() {
        for threads in [1, 4, 100] {
            let mut done = vec![0; 50];
            each(
                (50, threads),
                || |piece: usize| Ok::<_, ()>(piece * 2),
                |result| {
                    if let Some((piece, Ok(double))) = result {
                        assert_eq!(double, piece * 2);
                        done[piece] += 1;
                    }
                },
            );
            assert_eq!(done, [1; 50]);
        }
        let mut results = Vec::new();
        each((1000, 1), || |piece| if piece == 7 { Err(piece) } else { Ok(()) }, |result| results.extend(result));
        assert_eq!((results.len(), results.last()), (8, Some(&(7, Err(7)))));
        each((0, 4), || |_| Ok::<(), ()>(()), |result| assert_eq!(result, None));
    }
}
