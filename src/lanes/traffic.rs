//! What a lane has under way, and when it may send more.
//!
//! A batch goes at once when nothing of its way is under way; what comes meanwhile goes together
//! when that has come back. Two writes at a time would each be half as large, and cost the database
//! more than it gains by never waiting for us: only behind one that takes long does another go. What
//! is read first takes two trips, so there one may be read while another is written.

use std::time::{Duration, Instant};

/// The part of all jobs below which they are too few for a batch of their own.
const FEW: usize = 3;
/// Where no batch was sent or came back within this, others do not wait for it: it is very large,
/// or somebody holds one of its rows.
pub(super) const SLOW: Duration = Duration::from_millis(20);

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
    pub fn may_admit(&self, way: Way, jobs: usize) -> bool {
        let is_apart = way == Way::Read && !self.are_few(jobs);
        let goes_along = self.batches < way.limit() && (is_apart || !self.flows());
        jobs > 0 && (self.batches == 0 || goes_along)
    }

    /// Whether so many jobs are too few for a batch of their own beside those there lately were.
    const fn are_few(&self, jobs: usize) -> bool {
        jobs * FEW < self.crowd
    }

    /// Whether so few jobs had better go with the next batch, because it will soon be sent.
    pub fn takes_along(&self, jobs: usize) -> bool {
        self.are_few(jobs) && self.flows()
    }

    fn flows(&self) -> bool {
        self.moved_at.is_some_and(|at| at.elapsed() < SLOW)
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

    /// Time has passed since a batch was last sent or came back.
    fn be_slow(traffic: &mut Traffic) {
        traffic.moved_at = Instant::now().checked_sub(SLOW);
    }

    #[test]
    fn a_batch_goes_alone_and_behind_a_slow_one_a_second_goes() {
        let mut traffic = Traffic::default();
        let admits = |traffic: &mut Traffic, jobs| traffic.admits(Way::Remembered, jobs);
        assert!(!admits(&mut traffic, 0), "there is nothing to send");
        assert!(admits(&mut traffic, 1));
        traffic.begin(1);
        assert!(!admits(&mut traffic, 1_000), "it will soon be back");
        be_slow(&mut traffic);
        assert!(admits(&mut traffic, 1));
        traffic.begin(1);
        be_slow(&mut traffic);
        assert!(!admits(&mut traffic, 1_000), "two are under way");
        traffic.end(1);
        assert!(!admits(&mut traffic, 1), "one has just come back");
        traffic.end(1);
        assert!(admits(&mut traffic, 1));
    }

    #[test]
    fn what_is_read_goes_along_when_it_has_its_part() {
        let mut traffic = Traffic::default();
        assert!(traffic.admits(Way::Read, 40));
        traffic.begin(40);
        assert!(!traffic.admits(Way::Read, 19), "of 59");
        assert!(traffic.admits(Way::Read, 20), "of 60");
        traffic.begin(20);
        assert!(!traffic.admits(Way::Read, 100), "two are under way");
    }

    #[test]
    fn what_waits_for_its_turn_waits_together() {
        let mut traffic = Traffic::default();
        assert!(traffic.admits(Way::InTurn, 1));
        traffic.begin(1);
        be_slow(&mut traffic);
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
        be_slow(&mut traffic);
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
        assert!(!traffic.takes_along(1), "one of two");
    }
}
