//! A mark on the thread that capture is at work, so that what capture causes is not captured.

use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Held while this thread captures something; not `Send`.
#[derive(Debug)]
pub(super) struct Capturing(PhantomData<*const ()>);

impl Capturing {
    /// Marks the thread; `None` if it is marked already or is being torn down.
    pub(super) fn enter() -> Option<Self> {
        INSIDE
            .try_with(|inside| (!inside.replace(true)).then_some(Self(PhantomData)))
            .ok()
            .flatten()
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        // A thread that is being torn down has no mark left to clear.
        let _ = INSIDE.try_with(|inside| inside.set(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_inside_at_most_once() {
        let outer = Capturing::enter();
        assert!(outer.is_some());
        assert!(Capturing::enter().is_none());
        drop(outer);
        assert!(Capturing::enter().is_some());
    }
}
