//! What the system knows of a process: the processor time it took, and the most memory it had.
//!
//! Read from `/proc`; on a system without it there is nothing to tell, and the report says so.

use std::fs;
use std::path::Path;

/// Linux counts processor time for user programs in hundredths of a second, on every machine.
const TICKS_A_SECOND: f64 = 100.0;

/// Where a process' line in `/proc/<id>/stat` has what, counted after its name.
const PARENT: usize = 1;
const OWN_TIMES: [usize; 2] = [11, 12];
const ENDED_CHILDREN_TIMES: [usize; 2] = [13, 14];

/// One process' line in `/proc/<id>/stat`.
struct Stat {
    parent: u32,
    own_ticks: u64,
    /// Of children that ended and were waited for.
    ended_ticks: u64,
}

/// The processor seconds that a process has used so far.
pub fn cpu_seconds(process: u32) -> Option<f64> {
    Some(seconds(Stat::read(process)?.own_ticks))
}

/// The same for a process and its children, those that ended included: a Postgres has one process
/// for each connection.
pub fn family_cpu_seconds(parent: u32) -> Option<f64> {
    let own = Stat::read(parent)?;
    let children: u64 = processes()
        .filter_map(Stat::read)
        .filter(|stat| stat.parent == parent)
        .map(|stat| stat.own_ticks)
        .sum();
    Some(seconds(own.own_ticks + own.ended_ticks + children))
}

/// The processor seconds that everything on the machine has used so far.
pub fn machine_cpu_seconds() -> Option<f64> {
    machine_ticks(&fs::read_to_string("/proc/stat").ok()?).map(seconds)
}

/// The most memory that a process ever had resident, in MiB.
pub fn peak_resident_mib(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// The value that a Postgres was given for a setting on its command line, which wins over every
/// file.
pub fn postgres_setting(process: u32, name: &str) -> Option<String> {
    let command = fs::read_to_string(format!("/proc/{process}/cmdline")).ok()?;
    let mut values = command
        .split('\0')
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values.next_back().map(str::to_owned)
}

/// Whether files in `directory` live in memory, where making them durable costs nothing.
pub fn is_in_memory(directory: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let directory = directory.canonicalize().unwrap_or_default();
    let of_directory = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?))
        })
        .filter(|(place, _)| directory.starts_with(place))
        .max_by_key(|(place, _)| place.len());
    of_directory.is_some_and(|(_, kind)| matches!(kind, "tmpfs" | "ramfs"))
}

impl Stat {
    fn read(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    fn parse(line: &str) -> Option<Self> {
        // The name, in parentheses, may itself hold spaces and parentheses.
        let (_, rest) = line.rsplit_once(')')?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let sum = |places: [usize; 2]| -> Option<u64> {
            let [user, system] = places.map(|place| words.get(place)?.parse::<u64>().ok());
            Some(user? + system?)
        };
        Some(Self {
            parent: words.get(PARENT)?.parse().ok()?,
            own_ticks: sum(OWN_TIMES)?,
            ended_ticks: sum(ENDED_CHILDREN_TIMES)?,
        })
    }
}

/// From the first line of `/proc/stat`, which tells what the processors did since the start.
fn machine_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> = line
        .split_whitespace()
        .filter_map(|time| time.parse().ok())
        .collect();
    let [user, nice, system, _idle, _waiting, hard, soft, stolen, ..] = times[..] else {
        return None;
    };
    Some(user + nice + system + hard + soft + stolen)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_A_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let line = "42 (a ) b) S 7 42 42 0 -1 4194304 9 0 0 0 150 25 3 4 20 0 1 0 340084";

        let stat = Stat::parse(line).expect("it is one");

        assert_eq!((stat.parent, stat.own_ticks, stat.ended_ticks), (7, 175, 7));
        assert!(Stat::parse("42 (cat) S").is_none());
    }

    #[test]
    fn an_idle_machine_uses_nothing() {
        let stat = "cpu  100 20 3 4000 500 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n";

        assert_eq!(machine_ticks(stat), Some(144));
        assert_eq!(machine_ticks("cpu  1 2 3\n"), None);
    }
}
