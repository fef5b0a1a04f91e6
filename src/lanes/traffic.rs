//! What a lane has under way, and when it may send more.
//!
//! A batch goes at once when nothing of its way is under way. It goes along with another when it
//! has its part of all jobs there are: so the database never waits for us to think, and batches
//! stay large.

use std::time::{Duration, Instant};

/// The part of all jobs that a batch must have to be sent beside another: two are then being
/// written while the third is put together.
const PARTS: usize = 3;
/// Where no batch was sent or came back within this, something holds them up.
const SOON: Duration = Duration::from_millis(50);

/// How a batch comes to be decided. Each way has connections of its own, so that what is quick
/// never waits for what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// On pools as they are remembered: only a write.
    Remembered,
    /// On pools as they are read.
    Read,
    /// On pools that others write, too, as they are read when it is our turn.
    InTurn,
}

impl Way {
    /// Every way; what has waited longest first.
    pub const ALL: [Self; 3] = [Self::InTurn, Self::Read, Self::Remembered];

    /// How many batches may be under way. Those that wait for their turn wait together.
    const fn limit(self) -> usize {
        match self {
            Self::Remembered | Self::Read => 2,
            Self::InTurn => 1,
        }
    }
}

/// Jobs by way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByWay<T>([T; 3]);

impl<T> ByWay<T> {
    pub const fn of(&mut self, way: Way) -> &mut T {
        &mut self.0[way as usize]
    }
}

/// What is under way in one way.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    batches: usize,
    jobs: usize,
    /// How many jobs there lately were at once, under way or to be sent.
    crowd: usize,
    /// When a batch was last sent or came to its end.
    moved_at: Option<Instant>,
}

impl Traffic {
    /// Whether a batch of so many jobs, which are all there are, is sent now.
    pub fn admits(&mut self, way: Way, jobs: usize) -> bool {
        self.crowd = self.crowd.max(self.jobs + jobs);
        self.may_admit(way, jobs)
    }

    /// Whether a batch of so many jobs could be sent now.
    pub const fn may_admit(&self, way: Way, jobs: usize) -> bool {
        let goes_along = self.batches < way.limit() && !self.are_few(jobs);
        jobs > 0 && (self.batches == 0 || goes_along)
    }

    /// Whether so many jobs are too few for a batch of their own beside those there lately were.
    const fn are_few(&self, jobs: usize) -> bool {
        jobs * PARTS < self.crowd
    }

    /// Whether so few jobs had better go with the next batch, because it will soon be sent.
    pub fn takes_along(&self, jobs: usize) -> bool {
        let flows = |at: Instant| at.elapsed() < SOON;
        self.are_few(jobs) && self.moved_at.is_some_and(flows)
    }

    /// A batch was sent.
    pub fn begin(&mut self, jobs: usize) {
        self.moved_at = Some(Instant::now());
        self.batches += 1;
        self.jobs += jobs;
    }

    /// A batch has come to its end.
    pub fn end(&mut self, jobs: usize) {
        self.moved_at = Some(Instant::now());
        self.batches -= 1;
        self.jobs -= jobs;
        self.crowd -= self.crowd.div_ceil(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_batch_goes_at_once_and_a_second_one_when_it_has_its_part() {
        let mut traffic = Traffic::default();
        let admits = |traffic: &mut Traffic, jobs| traffic.admits(Way::Remembered, jobs);
        assert!(!admits(&mut traffic, 0), "there is nothing to send");
        assert!(admits(&mut traffic, 1));
        traffic.begin(40);
        assert!(!admits(&mut traffic, 19), "of 59");
        assert!(admits(&mut traffic, 20), "of 60");
        traffic.begin(20);
        assert!(!admits(&mut traffic, 100), "two are under way");
        traffic.end(20);
        traffic.end(40);
        assert!(admits(&mut traffic, 1));
    }

    #[test]
    fn what_waits_for_its_turn_waits_together() {
        let mut traffic = Traffic::default();
        assert!(traffic.admits(Way::InTurn, 1));
        traffic.begin(1);
        assert!(!traffic.admits(Way::InTurn, 1_000));
    }

    #[test]
    fn a_few_jobs_go_with_the_next_batch_unless_batches_are_held_up() {
        let mut traffic = Traffic::default();
        assert!(!traffic.takes_along(1), "there is none");
        assert!(traffic.admits(Way::Remembered, 30));
        traffic.begin(30);
        assert!(traffic.takes_along(9));
        assert!(!traffic.takes_along(10), "a third of all");
        traffic.moved_at = Instant::now().checked_sub(SOON);
        assert!(!traffic.takes_along(1));
    }

    #[test]
    fn a_crowd_that_has_gone_is_forgotten() {
        let mut traffic = Traffic::default();
        assert!(traffic.admits(Way::Read, 512));
        for _ in 0..40 {
            traffic.begin(1);
            traffic.end(1);
        }
        traffic.begin(1);
        assert!(traffic.admits(Way::Read, 1), "one of two");
    }
}
