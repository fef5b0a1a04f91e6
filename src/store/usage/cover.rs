//! How a stretch of a journal is cut into the greatest blocks inside it and the entries around
//! them. Plain arithmetic.

use std::ops::RangeInclusive;

use super::used::PORTION;
use crate::ledger::Time;

/// How far the blocks of a level are built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// 0 for the smallest blocks.
    pub level: i16,
    /// Entries a block has.
    pub size: i64,
    /// How many are built, from the first one on.
    pub blocks: i64,
    /// The instant of the first entry in them that names a user.
    pub tracking_since: Option<Time>,
}

/// Blocks of a level that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub level: i16,
    pub first: i64,
    pub last: i64,
}

/// A part of a stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// To be read as lines.
    Blocks(Blocks),
    /// To be read as they are: at most [`PORTION`].
    Entries(RangeInclusive<i64>),
}

impl Head {
    /// The number of the block that begins right after an entry, if it is built and ends in time.
    fn block_after(&self, entry: i64, end: i64) -> Option<i64> {
        let block = entry / self.size;
        let fits = entry % self.size == 0 && entry + self.size <= end;
        (fits && block < self.blocks).then_some(block)
    }
}

/// Cuts a stretch into pieces, in order. `heads` go from the smallest blocks to the greatest.
pub fn cover(heads: &[Head], entries: &RangeInclusive<i64>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut done, end) = (entries.start() - 1, *entries.end());
    while done < end {
        let greatest = heads.iter().rev().find_map(|head| {
            let block = head.block_after(done, end)?;
            Some((head, block))
        });
        if let Some((head, block)) = greatest {
            match pieces.last_mut() {
                Some(Piece::Blocks(blocks)) if blocks.level == head.level => blocks.last = block,
                _ => pieces.push(Piece::Blocks(Blocks {
                    level: head.level,
                    first: block,
                    last: block,
                })),
            }
            done += head.size;
        } else {
            // To where the next block may begin.
            let next = heads.first().map_or(i64::MAX, |base| {
                (done / base.size + 1).saturating_mul(base.size)
            });
            let next = next.min(end).min(done.saturating_add(PORTION));
            pieces.push(Piece::Entries(done + 1..=next));
            done = next;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(level: i16, size: i64, blocks: i64) -> Head {
        Head {
            level,
            size,
            blocks,
            tracking_since: None,
        }
    }

    fn blocks(level: i16, first: i64, last: i64) -> Piece {
        Piece::Blocks(Blocks { level, first, last })
    }

    #[test]
    fn the_greatest_blocks_inside_are_taken_and_entries_at_the_edges() {
        let heads = [head(0, 4, 20), head(1, 16, 5)];
        let rows = [
            (1..=80, vec![blocks(1, 0, 4)]),
            (1..=83, vec![blocks(1, 0, 4), Piece::Entries(81..=83)]),
            (
                3..=41,
                vec![
                    Piece::Entries(3..=4),
                    blocks(0, 1, 3),
                    blocks(1, 1, 1),
                    blocks(0, 8, 9),
                    Piece::Entries(41..=41),
                ],
            ),
            (5..=7, vec![Piece::Entries(5..=7)]),
            (5..=8, vec![blocks(0, 1, 1)]),
            #[expect(clippy::reversed_empty_ranges, reason = "a cycle without entries")]
            (9..=8, vec![]),
        ];
        for (entries, expected) in rows {
            assert_eq!(cover(&heads, &entries), expected, "{entries:?}");
        }
    }

    #[test]
    fn what_is_not_built_is_read_in_portions() {
        let all = 1..=PORTION * 2 + 1;
        let portions = vec![
            Piece::Entries(1..=PORTION),
            Piece::Entries(PORTION + 1..=PORTION * 2),
            Piece::Entries(PORTION * 2 + 1..=PORTION * 2 + 1),
        ];
        assert_eq!(cover(&[], &all), portions);
        let behind = cover(&[head(0, 4, 1)], &(1..=9));
        let expected = vec![
            blocks(0, 0, 0),
            Piece::Entries(5..=8),
            Piece::Entries(9..=9),
        ];
        assert_eq!(behind, expected);
    }

    #[test]
    fn every_entry_is_in_one_piece() {
        let heads = [head(0, 3, 11), head(1, 9, 3), head(2, 27, 1)];
        for start in 1..45 {
            for end in start..45 {
                let mut next = start;
                for piece in cover(&heads, &(start..=end)) {
                    let (first, last) = match piece {
                        Piece::Entries(entries) => entries.into_inner(),
                        Piece::Blocks(Blocks { level, first, last }) => {
                            let size = 3_i64.pow(u32::from(level.unsigned_abs()) + 1);
                            (first * size + 1, (last + 1) * size)
                        }
                    };
                    assert_eq!(first, next, "{start}..={end}");
                    next = last + 1;
                }
                assert_eq!(next, end + 1, "{start}..={end}");
            }
        }
    }
}
