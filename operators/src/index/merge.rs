//! Putting a collection into order that comes in pieces, most of which are in order: runs are found and merged.
//!
//! A piece that goes on where another one ended belongs to its run, so rows that were sent in order are one run again,
//! although several senders' pieces lie mixed. What a run has given is let go piece by piece: its memory serves whatever is
//! built of it.

use std::collections::VecDeque;
use std::vec::IntoIter;

/// Runs that may go on at the same time: those of the workers that send.
const OPEN_RUNS: usize = 16;

type Piece<R> = Vec<(R, i64)>;

/// What is left of a run behind its first row.
struct Run<R> {
    piece: IntoIter<(R, i64)>,
    rest: VecDeque<Piece<R>>,
}

impl<R> Iterator for Run<R> {
    type Item = (R, i64);

    fn next(&mut self) -> Option<(R, i64)> {
        loop {
            if let Some(change) = self.piece.next() {
                return Some(change);
            }
            self.piece = self.rest.pop_front()?.into_iter();
        }
    }
}

/// All changes of all pieces, ascending by row. Those of one row follow each other, none of them added up.
pub(super) struct Merged<R> {
    runs: Vec<Run<R>>,
    /// The next change of each run.
    heads: Vec<Option<(R, i64)>>,
    /// A tournament: at 0 the run with the least head, at the other places the run that lost there.
    losers: Vec<usize>,
}

impl<R: Ord> Merged<R> {
    pub(super) fn new(pieces: Vec<Piece<R>>) -> Self {
        let mut runs: Vec<Run<R>> =
            runs(pieces).into_iter().map(|rest| Run { piece: IntoIter::default(), rest }).collect();
        let heads: Vec<_> = runs.iter_mut().map(Iterator::next).collect();
        let mut merged = Merged { losers: vec![0; runs.len().max(1)], runs, heads };
        // From the leaves, which lie behind the inner nodes, to the root.
        let leaves = merged.runs.len();
        let mut winners: Vec<usize> = (0..leaves).chain(0..leaves).collect();
        for node in (1..leaves).rev() {
            let (left, right) = (winners[2 * node], winners[2 * node + 1]);
            let (winner, loser) = if merged.is_before(left, right) { (left, right) } else { (right, left) };
            (winners[node], merged.losers[node]) = (winner, loser);
        }
        if leaves > 1 {
            merged.losers[0] = winners[1];
        }
        merged
    }

    /// Whether the head of one run comes before that of another; a run that is over comes last.
    fn is_before(&self, left: usize, right: usize) -> bool {
        match (&self.heads[left], &self.heads[right]) {
            (Some((left, _)), Some((right, _))) => left.cmp(right).is_le(),
            (left, _) => left.is_some(),
        }
    }
}

impl<R: Ord> Iterator for Merged<R> {
    type Item = (R, i64);

    fn next(&mut self) -> Option<(R, i64)> {
        let mut winner = self.losers[0];
        let change = self.heads.get_mut(winner)?.take()?;
        self.heads[winner] = self.runs[winner].next();
        let mut node = (winner + self.runs.len()) / 2;
        while node > 0 {
            let loser = self.losers[node];
            if self.is_before(loser, winner) {
                (self.losers[node], winner) = (winner, loser);
            }
            node /= 2;
        }
        self.losers[0] = winner;
        Some(change)
    }
}

/// The pieces by runs, none of which is empty. A piece that is not in order is put into it.
fn runs<R: Ord>(pieces: Vec<Piece<R>>) -> Vec<VecDeque<Piece<R>>> {
    let mut over: Vec<VecDeque<Piece<R>>> = Vec::new();
    // The one that went on last comes last.
    let mut open: Vec<VecDeque<Piece<R>>> = Vec::new();
    for mut piece in pieces {
        if !piece.is_sorted_by(|(left, _), (right, _)| left <= right) {
            piece.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        }
        let Some((first, _)) = piece.first() else { continue };
        // Of the runs that could go on with it the one that ended nearest.
        let ended = open.iter().enumerate().filter_map(|(place, run)| Some((&run.back()?.last()?.0, place)));
        match ended.filter(|(last, _)| *last <= first).max() {
            Some((_, place)) => {
                let mut run = open.remove(place);
                run.push_back(piece);
                open.push(run);
            }
            None => {
                if open.len() == OPEN_RUNS {
                    over.push(open.remove(0));
                }
                open.push(VecDeque::from([piece]));
            }
        }
    }
    over.append(&mut open);
    over
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pieces_of_two_senders_that_lie_mixed_are_two_runs() {
        let piece = |from: u32| (from..from + 10).map(|row| (row, 1)).collect::<Vec<_>>();
        let pieces = vec![piece(500), piece(0), piece(10), piece(510), piece(20), piece(520)];
        let found = runs(pieces);
        assert_eq!(found.iter().map(|run| run.len()).collect::<Vec<_>>(), [3, 3]);
    }

    proptest! {
        /// Whatever the pieces are: all of it comes out, in order.
        #[test]
        fn everything_comes_out_in_order(
            mut pieces in prop::collection::vec((prop::collection::vec((0u16..500, -2i64..3), 0..12), any::<bool>()), 0..60),
        ) {
            pieces.iter_mut().filter(|(_, sorted)| *sorted).for_each(|(piece, _)| piece.sort());
            let pieces: Vec<Vec<(u16, i64)>> = pieces.into_iter().map(|(piece, _)| piece).collect();
            let mut expected: Vec<(u16, i64)> = pieces.iter().flatten().copied().collect();
            let merged: Vec<(u16, i64)> = Merged::new(pieces).collect();
            prop_assert!(merged.is_sorted_by_key(|(row, _)| *row));
            let mut found = merged;
            expected.sort();
            found.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
