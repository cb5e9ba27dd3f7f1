use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use operators::outcome::Verdict;
use operators::topology::PartitionId;

use super::*;
use dataflows::commands::{KINDS, LOCAL};

const LETTERS: u64 = 100;

fn letters(partition: &str, offset: u64) -> Vec<DeadLetter> {
    let (file, detail, raw) = ("events.ndjson".into(), String::new(), STANDARD.encode("{}"));
    let letter = DeadLetter { partition: partition.into(), offset, file, line: 0, code: "future".into(), detail, raw };
    if offset < LETTERS { vec![letter] } else { Vec::new() }
}

fn asked(offsets: impl IntoIterator<Item = u64>) -> String {
    let line = |offset| format!("{{\"partition\":\"events/0\",\"offset\":{offset}}}\n");
    offsets.into_iter().map(line).collect()
}

fn desk(folder: &Path) -> Arc<CommandDesk> {
    let (data, _) = DataFolder::open(folder, false).unwrap();
    CommandDesk::open(&Logs::of_folder(folder, None).unwrap(), &data).unwrap()
}

fn hand_in(desk: &CommandDesk, id: Option<&str>, asked: &str) -> Result<Receipt, HandInError> {
    desk.hand_in(&KINDS[0], &Signature::new(LOCAL, id, asked).unwrap(), asked, &letters)
}

fn outcome(offset: u64, line: u64, verdict: Verdict) -> Outcome {
    Outcome { partition: PartitionId(1), offset, line, verdict }
}

const NOW: Duration = Duration::ZERO;

#[test]
fn the_same_id_is_the_same_command_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = desk(folder.path());
    let receipt = hand_in(&first, Some("mend"), &asked([1, 2])).unwrap();
    assert_eq!((receipt.number, receipt.records.len()), (0, 2));
    assert_eq!(hand_in(&first, None, &asked([3])).unwrap().number, 1);
    for desk in [first, desk(folder.path())] {
        assert_eq!(hand_in(&desk, Some("mend"), &asked([1, 2])).unwrap(), receipt);
        let other = hand_in(&desk, Some("mend"), &asked([4])).unwrap_err();
        assert!(matches!(other, HandInError::OtherCommand { number: 0, .. }), "{other}");
        // Whatever it is called, what was done is not done twice.
        for (id, offset) in [(None, 1), (Some("again"), 2), (Some("more"), 3)] {
            let told = hand_in(&desk, id, &asked([offset])).unwrap_err().to_string();
            assert!(told.contains("line 1: events/0 at offset") && told.contains("entered before"), "{told}");
        }
        assert!(matches!(hand_in(&desk, Some("none"), &asked([LETTERS])), Err(HandInError::Refused(_))));
        assert_eq!(desk.commands().end(), Some(2), "nothing was written");
        desk.close();
        assert!(matches!(hand_in(&desk, None, &asked([5])), Err(HandInError::Closed)));
    }
}

#[test]
fn whoever_waits_is_told_once_every_record_has_its_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let desk = desk(folder.path());
    let receipt = hand_in(&desk, None, &asked([1, 2])).unwrap();
    assert_eq!(desk.wait_for_answer(&receipt, NOW), None);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| desk.wait_for_answer(&receipt, Duration::from_secs(60)));
        desk.hear(7, vec![outcome(0, 2, Verdict::Duplicate)]);
        assert_eq!(desk.wait_for_answer(&receipt, NOW), None, "one is missing");
        desk.hear(9, vec![outcome(0, 1, Verdict::OnTime), outcome(4, 0, Verdict::Late)]);
        let told: Vec<_> =
            waiting.join().unwrap().unwrap().into_iter().map(|answer| (answer.tick, answer.verdict)).collect();
        assert_eq!(told, [(9, Verdict::OnTime), (7, Verdict::Duplicate)], "in the order of the records");
    });
    assert!(desk.wait_for_answer(&receipt, NOW).is_some(), "whoever asks again is told again");
    // A run that ends lets everybody go.
    let receipt = hand_in(&desk, None, &asked([3])).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| desk.wait_for_answer(&receipt, Duration::from_secs(600)));
        desk.close();
        assert_eq!(waiting.join().unwrap(), None);
    });
}

#[test]
fn outcomes_of_old_commands_are_forgotten() {
    let answers = Answers::default();
    let per_command = 1 << 10;
    let commands = 2 * (answers::OUTCOMES_MAX as u64 / per_command);
    for number in 0..commands {
        answers.hear(number, (1..=per_command).map(|line| outcome(number, line, Verdict::OnTime)).collect());
    }
    assert_eq!(answers.wait(0, per_command as usize, NOW), None);
    assert!(answers.wait(commands - 1, per_command as usize, NOW).is_some());
    assert!(answers.wait(commands / 2, per_command as usize, NOW).is_some());
    // One that is larger than all that is remembered has its answer.
    let records = answers::OUTCOMES_MAX as u64 + 1;
    answers.hear(commands, (1..=records).map(|line| outcome(commands, line, Verdict::OnTime)).collect());
    assert!(answers.wait(commands, records as usize, NOW).is_some());
}

#[test]
fn a_log_that_lacks_what_was_bound_is_told() {
    let settings = dataflows::configuration::parse(
        "[[sources]]\nname = \"own\"\nkind = \"experiment\"\nfiles = \"*.ndjson\"\ntenants = [\"me\"]\n",
        "own.toml",
        crate::BUILT,
    );
    let plan = settings.unwrap().plan(vec![vec![PartitionInput::Files(Vec::new())]], 0).with_re_entry();
    let check = |next: &[u64], end| check_bound(&plan, next, end, "commands.log".to_owned());
    assert_eq!(check(&[900, 3], 3), Ok(()));
    assert_eq!(check(&[900], 0), Ok(()), "nothing of it was bound");
    let told = check(&[900, 5], 3).unwrap_err().to_string();
    assert!(told.starts_with(
        "the command log (commands.log) ends at offset 3, but the remap log binds commands up to offset 5"
    ));
}

/// Many at once: each is there once, and they share synchronisations.
#[test]
fn commands_of_many_threads_are_all_taken() {
    let folder = tempfile::tempdir().unwrap();
    let desk = desk(folder.path());
    let threads = 20;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let desk = &desk;
            scope.spawn(move || {
                for offset in (thread..LETTERS).step_by(threads as usize) {
                    hand_in(desk, Some(&format!("letter-{offset}")), &asked([offset])).unwrap();
                }
            });
        }
    });
    assert_eq!(desk.commands().end(), Some(LETTERS));
    desk.close();
    let again = self::desk(folder.path());
    let mut numbers: Vec<u64> = (0..LETTERS)
        .map(|offset| hand_in(&again, Some(&format!("letter-{offset}")), &asked([offset])).unwrap().number)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..LETTERS).collect::<Vec<_>>());
}
