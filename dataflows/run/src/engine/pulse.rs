//! Whether the other processes of a cluster get on.
//!
//! A process that is gone breaks its connections, one that hangs or is frozen does not: the run stands still then, without a
//! word, and goes on once that process does. So every process beats once a second, as long as its own workers get on, and
//! counts how often it beat since it heard a neighbour. Process 0 listens to all, the others to process 0: nothing is sealed
//! without it. A neighbour counts from when it was heard first, since it may read a checkpoint for long before. Beats are counted rather than seconds, so somebody who was frozen blames nobody for that time.

/// After how many beats, which are a second apart, a neighbour is silent.
pub(super) const SILENT_BEATS: u64 = 10;

/// A neighbour that is listened to.
struct Neighbour {
    process: usize,
    address: String,
    /// Since it was heard; none until then.
    unheard_beats: Option<u64>,
    told: bool,
}

/// What one process hears of its neighbours.
#[derive(Default)]
pub(super) struct Pulses(Vec<Neighbour>);

/// What there is to tell of a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It was not heard for this long.
    Silent { process: usize, address: String },
    /// It is heard again.
    Back { process: usize, address: String },
}

impl Pulses {
    /// Of the neighbours of a process, where there are several addresses.
    pub(super) fn new(addresses: &[String], process: usize) -> Pulses {
        let heard = |other: usize| if process == 0 { other > 0 } else { other == 0 };
        let neighbours = addresses.iter().enumerate().filter(|(other, _)| heard(*other));
        let neighbour = |(process, address): (usize, &String)| Neighbour {
            process,
            address: address.clone(),
            unheard_beats: None,
            told: false,
        };
        Pulses(neighbours.map(neighbour).collect())
    }

    /// This process beats; gives the neighbours that became silent by that.
    pub(super) fn beat(&mut self) -> Vec<Pulse> {
        let mut silent = Vec::new();
        for neighbour in &mut self.0 {
            let Some(beats) = &mut neighbour.unheard_beats else { continue };
            *beats += 1;
            if *beats >= SILENT_BEATS && !std::mem::replace(&mut neighbour.told, true) {
                silent.push(Pulse::Silent { process: neighbour.process, address: neighbour.address.clone() });
            }
        }
        silent
    }

    /// A neighbour was heard; gives it if it had been silent.
    pub(super) fn heard(&mut self, process: usize) -> Option<Pulse> {
        let neighbour = self.0.iter_mut().find(|neighbour| neighbour.process == process)?;
        neighbour.unheard_beats = Some(0);
        let was_silent = std::mem::take(&mut neighbour.told);
        was_silent.then(|| Pulse::Back { process, address: neighbour.address.clone() })
    }
}

impl Pulse {
    /// Tells whoever watches the run.
    pub(super) fn tell(&self) {
        match self {
            Pulse::Silent { process, address } => tracing::warn!(
                "process {process} ({address}) was not heard for {SILENT_BEATS} s; the run stands still until it is, or until \
                 it is ended: then start every process again"
            ),
            Pulse::Back { process, address } => tracing::warn!("process {process} ({address}) is heard again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Vec<String> {
        ["a:1", "b:2", "c:3"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_neighbour_that_is_silent_is_told_once_and_once_that_it_is_back() {
        let mut pulses = Pulses::new(&addresses(), 0);
        let early: Vec<Pulse> = (0..3 * SILENT_BEATS).flat_map(|_| pulses.beat()).collect();
        assert_eq!(early, [], "they may still be reading a checkpoint");
        assert_eq!((pulses.heard(1), pulses.heard(2)), (None, None));
        for _ in 1..SILENT_BEATS {
            assert_eq!((pulses.beat(), pulses.heard(1)), (vec![], None));
        }
        let silent = Pulse::Silent { process: 2, address: "c:3".to_owned() };
        assert_eq!(pulses.beat(), std::slice::from_ref(&silent));
        assert_eq!((pulses.heard(1), pulses.beat()), (None, vec![]));
        assert_eq!(pulses.heard(2), Some(Pulse::Back { process: 2, address: "c:3".to_owned() }));
        assert_eq!(pulses.heard(2), None);
        let told: Vec<Pulse> = (0..SILENT_BEATS).flat_map(|_| pulses.beat()).collect();
        assert_eq!(told, [Pulse::Silent { process: 1, address: "b:2".to_owned() }, silent], "both, one beat later");
    }

    #[test]
    fn who_is_not_first_listens_to_the_first_alone() {
        let mut pulses = Pulses::new(&addresses(), 2);
        assert_eq!(pulses.heard(0), None);
        let told: Vec<Pulse> = (0..3 * SILENT_BEATS).flat_map(|_| (pulses.beat(), pulses.heard(1)).0).collect();
        assert_eq!(told, [Pulse::Silent { process: 0, address: "a:1".to_owned() }]);
        assert!(Pulses::new(&[], 0).beat().is_empty(), "no cluster, no neighbours");
    }
}
