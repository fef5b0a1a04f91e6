//! What a lane has under way, and when it may send more.
//!
//! A batch goes at once when nothing of its way is under way; what comes meanwhile goes together
//! when that has come back. Two writes at a time would each be half as large, and cost the database
//! more than it gains by never waiting for us: only behind one that takes long do others go, and
//! what is large already. What must be read first takes two trips, so one may be read while another
//! is written.

use std::time::{Duration, Instant};

/// One part in so many of all jobs is enough for a batch of their own.
const PARTS: usize = 3;
/// So many jobs are worth a write of their own at any time: what a statement costs by itself is
/// lost among them, and two connections do more than one.
const MANY: usize = 256;
/// What takes longer than this and so much more for each job is not waited for: the database is far
/// away, or somebody holds one of the rows.
const TRIP: Duration = Duration::from_millis(2);
const EACH: Duration = Duration::from_micros(100);
/// What takes longer than this most likely comes back too late for its callers.
const LATE: Duration = Duration::from_secs(1);

/// How a batch comes to be decided. Each way has its own limit, so that what is quick never waits
/// for what is not.
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

/// Something for each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByWay<T>([T; 3]);

impl<T> ByWay<T> {
    pub const fn of(&mut self, way: Way) -> &mut T {
        &mut self.0[way as usize]
    }
}

/// A batch under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub jobs: usize,
    /// When it was sent.
    pub at: Instant,
}

impl Load {
    /// When it is not waited for any longer.
    fn is_slow_at(&self) -> Instant {
        let jobs = u32::try_from(self.jobs).unwrap_or(u32::MAX);
        self.at + TRIP + EACH.saturating_mul(jobs)
    }

    /// When it is so late that nothing more should wait for it.
    pub fn is_late_at(&self) -> Instant {
        self.at + LATE
    }
}

/// What is under way in one way.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    loads: Vec<Load>,
    /// How many jobs there lately were at once, under way or to be sent.
    crowd: usize,
}

impl Traffic {
    /// Whether a batch of so many jobs, which are all there are, is sent now.
    pub fn admits(&mut self, way: Way, jobs: usize, now: Instant) -> bool {
        let under_way: usize = self.loads.iter().map(|load| load.jobs).sum();
        self.crowd = self.crowd.max(under_way + jobs);
        self.may_admit(way, jobs, now)
    }

    /// Whether a batch of so many jobs could be sent now.
    pub fn may_admit(&self, way: Way, jobs: usize, now: Instant) -> bool {
        let is_apart = jobs >= MANY || way == Way::Read && !self.are_few(jobs);
        let goes_along = self.loads.len() < way.limit() && (is_apart || self.is_slow(now));
        jobs > 0 && (self.loads.is_empty() || goes_along)
    }

    /// When one more batch could be sent that has to wait now.
    pub fn admits_at(&self, way: Way) -> Option<Instant> {
        let has_room = self.loads.len() < way.limit();
        let slow = self.loads.iter().map(Load::is_slow_at);
        slow.min().filter(|_| has_room)
    }

    /// When something under way will next be so late that nothing more should wait for it.
    pub fn late_at(&self, now: Instant) -> Option<Instant> {
        let late = self.loads.iter().map(Load::is_late_at);
        late.filter(|at| *at > now).min()
    }

    /// Whether nothing more goes this way before something comes back, and all of it is late.
    pub fn is_stuck(&self, way: Way, now: Instant) -> bool {
        self.loads.len() >= way.limit() && self.late_at(now).is_none()
    }

    /// Whether so few jobs had better go with the next batch, because it will soon be sent.
    pub fn takes_along(&self, jobs: usize, now: Instant) -> bool {
        self.are_few(jobs) && !self.is_slow(now)
    }

    /// Whether so many jobs are too few for a batch of their own beside those there lately were.
    const fn are_few(&self, jobs: usize) -> bool {
        jobs * PARTS < self.crowd
    }

    fn is_slow(&self, now: Instant) -> bool {
        self.loads.iter().any(|load| load.is_slow_at() <= now)
    }

    /// A batch was sent.
    pub fn begin(&mut self, load: Load) {
        self.loads.push(load);
    }

    /// A batch has come to its end.
    pub fn end(&mut self, load: Load) {
        if let Some(place) = self.loads.iter().position(|other| *other == load) {
            self.loads.swap_remove(place);
        }
        self.crowd -= self.crowd.div_ceil(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_batch_goes_alone_and_behind_a_slow_one_others_go() {
        let (mut traffic, start) = (Traffic::default(), Instant::now());
        let load = |jobs, at| Load { jobs, at };
        let way = Way::Remembered;
        assert!(!traffic.admits(way, 0, start), "there is nothing to send");
        assert_eq!(traffic.admits_at(way), None, "nothing is waited for");
        assert!(traffic.admits(way, 10, start));
        traffic.begin(load(10, start));
        assert!(!traffic.admits(way, 255, start), "it will soon be back");
        assert!(traffic.admits(way, 256, start), "many do not wait");
        let slow = start + millis(3);
        assert_eq!(traffic.admits_at(way), Some(slow), "2 ms and a tenth a job");
        for round in 0..3 {
            let now = slow + millis(round);
            assert!(traffic.admits(way, 1, now), "as long as it is slow");
            traffic.begin(load(1, now));
            assert!(!traffic.admits(way, 1_000, now), "two are under way");
            assert_eq!(traffic.admits_at(way), None);
            traffic.end(load(1, now));
        }
        traffic.end(load(10, start));
        assert!(traffic.admits(way, 1, start));
    }

    #[test]
    fn what_is_read_goes_along_when_it_has_its_part() {
        let (mut traffic, at) = (Traffic::default(), Instant::now());
        assert!(traffic.admits(Way::Read, 40, at));
        traffic.begin(Load { jobs: 40, at });
        assert!(!traffic.admits(Way::Read, 19, at), "of 59");
        assert!(traffic.admits(Way::Read, 20, at), "of 60");
        traffic.begin(Load { jobs: 20, at });
        assert!(!traffic.admits(Way::Read, 100, at), "two are under way");
    }

    #[test]
    fn what_waits_for_its_turn_waits_together() {
        let (mut traffic, at) = (Traffic::default(), Instant::now());
        assert!(traffic.admits(Way::InTurn, 1, at));
        traffic.begin(Load { jobs: 1, at });
        assert!(!traffic.admits(Way::InTurn, 1_000, at + millis(1_000)));
        assert_eq!(traffic.admits_at(Way::InTurn), None);
    }

    #[test]
    fn a_way_is_stuck_when_it_is_full_and_all_of_it_is_late() {
        let (mut traffic, at) = (Traffic::default(), Instant::now());
        let way = Way::Remembered;
        assert_eq!(traffic.late_at(at), None);
        traffic.begin(Load { jobs: 1, at });
        let late = at + millis(1_000);
        assert_eq!(traffic.late_at(at), Some(late));
        assert!(!traffic.is_stuck(way, late), "another one may go");
        let next = at + millis(500);
        traffic.begin(Load { jobs: 1, at: next });
        assert_eq!(traffic.late_at(next), Some(late), "of both");
        assert!(!traffic.is_stuck(way, late), "one may soon be back");
        let all_late = late + millis(500);
        assert_eq!(traffic.late_at(late), Some(all_late));
        assert_eq!(traffic.late_at(all_late), None);
        assert!(traffic.is_stuck(way, all_late));
    }

    #[test]
    fn a_few_jobs_go_with_the_next_batch_unless_it_is_slow() {
        let (mut traffic, at) = (Traffic::default(), Instant::now());
        assert!(!traffic.takes_along(1, at), "there is none");
        assert!(traffic.admits(Way::Remembered, 30, at));
        traffic.begin(Load { jobs: 30, at });
        assert!(traffic.takes_along(9, at));
        assert!(!traffic.takes_along(10, at), "a third of all");
        assert!(!traffic.takes_along(1, at + millis(5)));
    }

    #[test]
    fn a_crowd_that_has_gone_is_forgotten() {
        let (mut traffic, at) = (Traffic::default(), Instant::now());
        let one = Load { jobs: 1, at };
        assert!(traffic.admits(Way::Read, 512, at));
        for _ in 0..40 {
            traffic.begin(one);
            traffic.end(one);
        }
        traffic.begin(one);
        assert!(traffic.admits(Way::Read, 1, at), "one of two");
    }
}
