//! Items that are made while earlier ones are used.

use crate::DataError;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Makes items on a thread of its own, some ahead of who takes them, and gives them in their order.
///
/// An error comes in the place of its item and is the last thing that comes. Dropped, it waits for
/// the item at hand and makes no other.
#[derive(Debug)]
pub struct Prefetch<T> {
    /// Nothing once the end was seen.
    made: Option<Receiver<Result<T, DataError>>>,
    maker: Option<JoinHandle<()>>,
    waited: Duration,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Begins to make the items of the given numbers, `7..` or `7..20`, of which `depth` may be
    /// ready and one more at hand.
    ///
    /// # Panics
    ///
    /// If `depth` is 0, or the system gives no thread.
    pub fn new(
        numbers: impl Iterator<Item = u64> + Send + 'static,
        depth: usize,
        mut make: impl FnMut(u64) -> Result<T, DataError> + Send + 'static,
    ) -> Self {
        assert!(depth > 0, "no item may be ready");
        let (send, made) = sync_channel(depth);
        let maker = thread::spawn(move || {
            for number in numbers {
                let item = make(number);
                let is_last = item.is_err();
                // Nobody takes it any more, or there is nothing after it.
                if send.send(item).is_err() || is_last {
                    return;
                }
            }
        });
        Self {
            made: Some(made),
            maker: Some(maker),
            waited: Duration::ZERO,
        }
    }
}

impl<T> Prefetch<T> {
    /// How long items were waited for, all in all. One that is ready counts nothing.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Ends the thread, and goes on with its panic if it had one.
    fn end(&mut self) {
        self.made = None;
        if let Some(Err(panic)) = self.maker.take().map(JoinHandle::join) {
            resume_unwind(panic);
        }
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T, DataError>;

    /// Gives the next item as soon as it is made.
    ///
    /// # Panics
    ///
    /// If making it has panicked.
    fn next(&mut self) -> Option<Self::Item> {
        let made = self.made.as_ref()?;
        let item = match made.try_recv() {
            Ok(item) => Some(item),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                let start = Instant::now();
                let item = made.recv().ok();
                self.waited += start.elapsed();
                item
            }
        };
        if !matches!(item, Some(Ok(_))) {
            self.end();
        }
        item
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        // Without anybody to send to, the thread ends.
        self.made = None;
        if let Some(maker) = self.maker.take() {
            // Who drops it does not ask for items, nor for what went wrong with them.
            let _ = maker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::channel;

    fn broken(number: u64) -> DataError {
        DataError::NotAPicture {
            path: number.to_string().into(),
        }
    }

    #[test]
    fn items_come_in_their_order() {
        for depth in [1, 4, 100] {
            let items = Prefetch::new(5..25, depth, |number| Ok(number * number));
            let items: Vec<u64> = items.map(Result::unwrap).collect();
            assert_eq!(items, (5..25).map(|n| n * n).collect::<Vec<_>>());
        }
        let endless = Prefetch::new(3.., 2, Ok);
        let items: Vec<u64> = endless.take(4).map(Result::unwrap).collect();
        assert_eq!(items, [3, 4, 5, 6]);
    }

    #[test]
    fn an_error_comes_in_its_place_and_ends_it() {
        let make = |number| match number {
            2 => Err(broken(number)),
            _ => Ok(number),
        };
        let mut items = Prefetch::new(0.., 3, make);
        assert_eq!(items.next().unwrap().unwrap(), 0);
        assert_eq!(items.next().unwrap().unwrap(), 1);
        let error = items.next().unwrap().unwrap_err();
        assert!(error.to_string().starts_with("2 is not"), "{error}");
        assert!(items.next().is_none());
        assert!(items.next().is_none());
    }

    #[test]
    fn dropped_while_full_it_ends_its_thread() {
        let alive = Arc::new(());
        let (seen, calls) = (alive.clone(), Arc::new(AtomicU64::new(0)));
        let counted = calls.clone();
        let (begun, begins) = channel();
        let items = Prefetch::new(0.., 2, move |number| {
            let _held = &seen;
            counted.fetch_add(1, Ordering::SeqCst);
            // Nobody listens once the test goes on.
            let _ = begun.send(number);
            Ok(number)
        });
        // The third is begun when two are ready: it has nowhere to go.
        while begins.recv().unwrap() < 2 {}
        drop(items);
        assert_eq!(Arc::strong_count(&alive), 1, "the thread is gone");
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn what_is_ready_counts_no_waiting() {
        let (begun, begins) = channel();
        let mut items = Prefetch::new(0.., 2, move |number| {
            let _ = begun.send(number);
            Ok(number)
        });
        while begins.recv().unwrap() < 2 {}
        for number in 0..2 {
            assert_eq!(items.next().unwrap().unwrap(), number);
        }
        assert_eq!(items.waited(), Duration::ZERO);
    }

    #[test]
    fn what_is_not_ready_is_waited_for() {
        let mut items = Prefetch::new(0..20, 1, |number| {
            thread::sleep(Duration::from_millis(2));
            Ok(number)
        });
        assert_eq!(items.by_ref().count(), 20);
        assert!(items.waited() > Duration::ZERO);
    }

    #[test]
    fn a_panic_reaches_who_waits_for_the_item() {
        let mut items = Prefetch::new(0.., 1, |number| {
            assert!(number < 1, "no second item");
            Ok(number)
        });
        assert_eq!(items.next().unwrap().unwrap(), 0);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| items.next()));
        let panic = caught.unwrap_err();
        let text = panic.downcast_ref::<&str>().unwrap();
        assert!(text.contains("no second item"), "{text}");
        assert!(items.next().is_none());
    }
}
