//! What a render is given from outside, and what it may use up.

use super::error::Fault;
use crate::pure::limits;

/// The clock, the random source and the budget of a render.
pub struct Environment<'a> {
    now: (i64, u32),
    random: &'a mut dyn FnMut(&mut [u8]),
    steps: usize,
    bytes: usize,
    cost: usize,
}

impl<'a> Environment<'a> {
    /// `now` is seconds and nanoseconds since 1970; `random` fills its argument with cryptographically random bytes.
    pub fn new(now: (i64, u32), random: &'a mut dyn FnMut(&mut [u8])) -> Self {
        Self { now, random, steps: 0, bytes: 0, cost: 0 }
    }

    /// A new render: the budget is whole again.
    pub(super) fn begin(&mut self) {
        (self.steps, self.bytes, self.cost) = (0, 0, 0);
    }

    pub(super) fn now(&self) -> (i64, u32) {
        self.now
    }

    pub(super) fn random(&mut self, into: &mut [u8]) {
        (self.random)(into);
    }

    /// A random number below `bound`, without bias.
    pub(super) fn random_below(&mut self, bound: u64) -> u64 {
        if bound < 2 {
            return 0;
        }
        let limit = u64::MAX - u64::MAX % bound;
        // A fair source is below the limit in at least half of all tries; a broken one must not hang the render.
        for _ in 0..256 {
            let mut bytes = [0; 8];
            self.random(&mut bytes);
            let number = u64::from_le_bytes(bytes);
            if number < limit {
                return number % bound;
            }
        }
        0
    }

    /// Takes `count` steps from the budget.
    pub(super) fn steps(&mut self, count: usize) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(count);
        if self.steps > limits::TEMPLATE_STEPS {
            return Err(Fault::limit("a render", limits::TEMPLATE_STEPS, "steps"));
        }
        Ok(())
    }

    /// Announces a value of `bytes` bytes before it is made.
    pub(super) fn value(&mut self, bytes: usize) -> Result<(), Fault> {
        if bytes > limits::TEMPLATE_VALUE_BYTES {
            return Err(Fault::limit("a value", limits::TEMPLATE_VALUE_BYTES, "bytes"));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > limits::TEMPLATE_TOTAL_BYTES {
            return Err(Fault::limit("all values of a render together", limits::TEMPLATE_TOTAL_BYTES, "bytes"));
        }
        Ok(())
    }

    /// Announces `units` of costly work, one being about a millisecond.
    pub(super) fn cost(&mut self, units: usize) -> Result<(), Fault> {
        self.cost = self.cost.saturating_add(units);
        if self.cost > limits::TEMPLATE_COST {
            return Err(Fault::limit("costly functions of a render", limits::TEMPLATE_COST, "ms of estimated time"));
        }
        Ok(())
    }
}
