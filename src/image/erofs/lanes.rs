//! Work that is done by several threads and comes back in the order it was given. Law: knows no bytes and no blocks.
//!
//! Every thread has a queue of its own and gets every n-th piece of work, so what comes back next is known without
//! sorting: the output of a packing cannot depend on which thread was faster. What is under way is bounded, and the one
//! who gives the work also takes the results: nothing can pile up.

use std::io;
use std::panic;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{Builder, JoinHandle};

/// Given to a thread before its first result is waited for.
const DEPTH: usize = 2;

pub(crate) struct Lanes<In, Out> {
    lanes: Vec<Lane<In, Out>>,
    most: usize,
    given: usize,
    taken: usize,
}

struct Lane<In, Out> {
    work: SyncSender<In>,
    results: Receiver<Out>,
    thread: JoinHandle<()>,
}

impl<In: Send + 'static, Out: Send + 'static> Lanes<In, Out> {
    /// At most `most` threads (at least one), each started when there is work for it.
    pub(crate) fn new(most: usize) -> Self {
        Self { lanes: Vec::new(), most: most.max(1), given: 0, taken: 0 }
    }

    /// No more can be given before a result is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.given - self.taken >= self.most * DEPTH
    }

    /// `worker` makes what a thread does, should this need a new one.
    pub(crate) fn give<W>(&mut self, work: In, worker: impl FnOnce() -> io::Result<W>) -> io::Result<()>
    where
        W: FnMut(In) -> Out + Send + 'static,
    {
        let index = self.given % self.most;
        if index == self.lanes.len() {
            self.lanes.push(Lane::start(worker()?)?);
        }
        let lane = &self.lanes[index];
        if lane.work.send(work).is_err() {
            return self.died(index);
        }
        self.given += 1;
        Ok(())
    }

    /// The oldest result that was not taken yet, waited for if need be. `None` if there is no work under way.
    pub(crate) fn take(&mut self) -> io::Result<Option<Out>> {
        if self.taken == self.given {
            return Ok(None);
        }
        let index = self.taken % self.most;
        match self.lanes[index].results.recv() {
            Ok(result) => {
                self.taken += 1;
                Ok(Some(result))
            }
            Err(_) => self.died(index),
        }
    }

    /// A thread ends before its queue does only by a panic, which goes on here.
    fn died<T>(&mut self, index: usize) -> io::Result<T> {
        match self.lanes.swap_remove(index).thread.join() {
            Err(panic) => panic::resume_unwind(panic),
            Ok(()) => Err(io::Error::other("a thread ended before its work")),
        }
    }
}

impl<In, Out> Drop for Lanes<In, Out> {
    /// No thread outlives this, whatever became of its work: what follows a packing counts on being alone.
    fn drop(&mut self) {
        for Lane { work, results, thread } in self.lanes.drain(..) {
            drop((work, results));
            // One that panicked without anybody asking for its result has said so on standard error.
            let _panic = thread.join();
        }
    }
}

impl<In: Send + 'static, Out: Send + 'static> Lane<In, Out> {
    fn start(mut worker: impl FnMut(In) -> Out + Send + 'static) -> io::Result<Self> {
        let (work, inbox) = mpsc::sync_channel::<In>(DEPTH);
        let (outbox, results) = mpsc::sync_channel(DEPTH);
        let thread = Builder::new().name("pack".to_owned()).spawn(move || {
            for work in inbox {
                if outbox.send(worker(work)).is_err() {
                    // Nobody wants the rest.
                    break;
                }
            }
        })?;
        Ok(Self { work, results, thread })
    }
}

#[cfg(test)]
mod tests {
    use super::Lanes;

    #[test]
    fn results_come_in_the_order_of_the_work() {
        for threads in [0, 1, 3, 8] {
            let mut lanes = Lanes::new(threads);
            let mut results = Vec::new();
            for number in 0_u64..500 {
                while lanes.is_full() {
                    results.extend(lanes.take().unwrap());
                }
                let slow_at_times = || {
                    Ok(|number: u64| {
                        std::thread::sleep(std::time::Duration::from_micros(number * 7919 % 50));
                        number * 2
                    })
                };
                lanes.give(number, slow_at_times).unwrap();
            }
            while let Some(result) = lanes.take().unwrap() {
                results.push(result);
            }
            assert_eq!(results, (0..500).map(|number| number * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "the third")]
    fn a_panic_of_a_thread_is_not_waited_for_in_vain() {
        let mut lanes = Lanes::new(2);
        for number in 0..4 {
            lanes.give(number, || Ok(|number| assert!(number != 2, "the third"))).unwrap();
        }
        while lanes.take().unwrap().is_some() {}
    }
}
