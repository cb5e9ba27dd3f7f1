//! Round trips through a folder, and every kind of damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use operators::checkpoint::{Parcel, Part, PartOwner, Piece, StateFormats};
use operators::time::Tick;
use operators::timekeeper::Position;
use operators::topology::PartitionId;
use proptest::prelude::*;

use super::{Checkpointer, CheckpointerOptions, Location, Manifest, Store, StoreError, segment};

fn options(workers: usize) -> CheckpointerOptions {
    CheckpointerOptions {
        interval: Duration::ZERO,
        keep: 2,
        workers,
        here: 0..workers,
        build: "a build".to_owned(),
        states: states(),
        configuration: "a hash".to_owned(),
    }
}

/// One more than there are parts of: it holds nothing yet.
fn states() -> StateFormats {
    let mut states = StateFormats::default();
    [("Fold0", 1), ("Fold1", 3), ("Fold2", 1), ("Fold3", 1)]
        .iter()
        .for_each(|(name, format)| states.add(name, *format));
    states
}

fn open(folder: &Path) -> Store {
    Store::open(&Location::Folder(folder.to_owned()), 7).unwrap()
}

fn position(upper: Tick) -> Position {
    Position { upper, now_ms: 1_000 * upper as i64, next: vec![upper, 2 * upper] }
}

fn parts(upper: Tick, worker: usize) -> Vec<Part> {
    let part = |number: u16| Part {
        operator: format!("Fold{}", number % 3),
        place: match number % 4 {
            0 => PartOwner::Everyone,
            1 => PartOwner::Partition(PartitionId(u32::from(number))),
            _ => PartOwner::Shard(number),
        },
        bytes: (0..200 * u64::from(number)).flat_map(|word| (word * upper + worker as u64).to_le_bytes()).collect(),
    };
    (0..40).map(part).collect()
}

/// Writes a checkpoint as the workers of one process do.
fn write(checkpointer: &Checkpointer, upper: Tick, workers: usize) {
    checkpointer.asked(position(upper));
    let depot = checkpointer.depot();
    for worker in 0..workers {
        for part in parts(upper, worker) {
            depot.put(upper, worker, Piece::Part(part));
        }
        depot.put(upper, worker, Piece::Complete);
    }
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let began = Instant::now();
    while !until() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ten checkpoints one after the other.
fn written(folder: &Path, uppers: impl IntoIterator<Item = Tick>) {
    let checkpointer = Checkpointer::start(open(folder), options(2)).unwrap();
    for upper in uppers {
        wait("the last one ends", || checkpointer.is_due());
        write(&checkpointer, upper, 2);
        checkpointer.acknowledged(upper);
        wait("it is complete", || checkpointer.newest() == upper);
    }
}

fn read(store: &Store, manifest: &Manifest) -> Result<Vec<Part>, String> {
    let parcels = store.load(manifest, |_| true, |_| {}).unwrap()?;
    Ok(parcels.iter().map(Parcel::open).collect())
}

/// The newest that is whole, as `aisle run` looks for it.
fn newest_intact(folder: &Path) -> (Option<Tick>, usize) {
    let store = open(folder);
    let (mut most, mut refused) = (Tick::MAX, 0);
    loop {
        let found = store.newest(most, |_| Ok(())).unwrap();
        refused += found.unusable.len();
        let Some(manifest) = found.manifest else { return (None, refused) };
        let upper = manifest.position.upper;
        if let Ok(read) = read(&store, &manifest) {
            let all: Vec<Part> = (0..2).flat_map(|worker| parts(upper, worker)).collect();
            assert_eq!(read, all);
            return (Some(upper), refused);
        }
        refused += 1;
        most = upper - 1;
    }
}

fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(objects(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

#[test]
fn what_is_written_is_read_and_only_the_newest_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 1..=5);
    let store = open(folder.path());
    let found = store.newest(Tick::MAX, |_| Ok(())).unwrap();
    let manifest = found.manifest.unwrap();
    assert_eq!((manifest.position.clone(), manifest.workers, found.unusable.len()), (position(5), 2, 0));
    assert_eq!(newest_intact(folder.path()), (Some(5), 0));
    assert_eq!(store.list("manifests").unwrap().len(), 2);
    let left = store.list("parts").unwrap();
    assert!(left.iter().all(|name| name.contains("0000000004-") || name.contains("0000000005-")), "{left:?}");
    // A sink that is behind wants an older one.
    assert_eq!(store.newest(4, |_| Ok(())).unwrap().manifest.unwrap().position, position(4));
    assert!(store.newest(3, |_| Ok(())).unwrap().manifest.is_none());
    // Only what is wanted is given.
    let wanted = |place| matches!(place, PartOwner::Shard(shard) if shard % 2 == 0);
    let given = store.load(&manifest, wanted, |_| {}).unwrap().unwrap();
    assert!(!given.is_empty() && given.iter().all(|part| wanted(part.place)));
}

#[test]
fn a_manifest_names_the_formats_of_states_and_one_that_does_not_has_the_first_of_each() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), [3]);
    let store = open(folder.path());
    let manifest = store.newest(Tick::MAX, |_| Ok(())).unwrap().manifest.unwrap();
    let parcels = store.load(&manifest, |_| true, |_| {}).unwrap().unwrap();
    assert_eq!(manifest.states(&parcels), states());
    // As commit a19e63e wrote it: the same bytes without that.
    let text = String::from_utf8(manifest.to_bytes()).unwrap();
    let named = r#","states":{"Fold0":1,"Fold1":3,"Fold2":1,"Fold3":1}"#;
    let json = text.lines().next().unwrap().replace(named, "");
    assert!(text.contains(named) && !json.contains("states"), "{text}");
    let bytes = format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes()));
    let old = Manifest::from_bytes(bytes.as_bytes()).unwrap();
    assert_eq!(old, Manifest { states: None, ..manifest });
    assert_eq!(old.states(&parcels), StateFormats::first(["Fold0", "Fold1", "Fold2"]));
    assert_eq!(old.to_bytes(), bytes.as_bytes(), "it is written again as it was");
}

#[test]
fn nothing_is_a_checkpoint_before_every_sink_has_its_tick() {
    let folder = tempfile::tempdir().unwrap();
    let checkpointer = Checkpointer::start(open(folder.path()), options(2)).unwrap();
    write(&checkpointer, 9, 2);
    checkpointer.acknowledged(8);
    let complete =
        || open(folder.path()).list("parts").unwrap().iter().filter(|name| name.ends_with(".complete")).count();
    wait("both workers are written", || complete() == 2);
    assert!(!checkpointer.is_due() && checkpointer.newest() == 0);
    assert!(open(folder.path()).newest(Tick::MAX, |_| Ok(())).unwrap().manifest.is_none());
    checkpointer.acknowledged(9);
    wait("it is complete", || checkpointer.newest() == 9);
}

#[test]
fn one_flipped_bit_in_any_object_is_found_and_the_one_before_is_used() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), [3, 4]);
    let of_newest = |path: &PathBuf| {
        let path = path.to_string_lossy();
        path.contains("00000004") && !path.ends_with(".complete")
    };
    let objects: Vec<PathBuf> = objects(folder.path()).into_iter().filter(of_newest).collect();
    assert!(objects.len() >= 3, "a manifest and two segments: {objects:?}");
    for path in objects {
        let whole = fs::read(&path).unwrap();
        for place in [0, 9, whole.len() / 2, whole.len() - 2] {
            let mut damaged = whole.clone();
            damaged[place] ^= 1 << (place % 8);
            fs::write(&path, &damaged).unwrap();
            assert_eq!(newest_intact(folder.path()), (Some(3), 1), "byte {place} of {}", path.display());
        }
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(newest_intact(folder.path()), (Some(3), 1), "half of {}", path.display());
        if !path.to_string_lossy().contains("manifests") {
            fs::remove_file(&path).unwrap();
            assert_eq!(newest_intact(folder.path()), (Some(3), 1), "without {}", path.display());
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(newest_intact(folder.path()), (Some(4), 0));
    }
}

#[test]
fn of_many_who_want_to_write_each_has_an_epoch_and_the_last_one_counts() {
    let folder = tempfile::tempdir().unwrap();
    let epochs: Vec<u64> = std::thread::scope(|scope| {
        let elect = || scope.spawn(|| open(folder.path()).elect().unwrap());
        let threads: Vec<_> = (0..8).map(|_| elect()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut sorted = epochs.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 8, "{epochs:?}");
    let store = open(folder.path());
    let last = *sorted.last().unwrap();
    store.check_writer(last).unwrap();
    assert!(matches!(store.check_writer(last - 1), Err(StoreError::Superseded { newer, .. }) if newer == last));
}

#[test]
fn a_store_that_refuses_costs_a_checkpoint_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), [3]);
    let checkpointer = Checkpointer::start(open(folder.path()), options(2)).unwrap();
    let run = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    // A file where a folder has to be made: whoever runs the test, it can't be.
    let parts = run.join("parts");
    fs::rename(&parts, run.join("aside")).unwrap();
    fs::write(&parts, "in the way").unwrap();
    write(&checkpointer, 4, 2);
    checkpointer.acknowledged(4);
    wait("it was given up", || checkpointer.is_due());
    assert_eq!(checkpointer.newest(), 0);
    fs::remove_file(&parts).unwrap();
    fs::rename(run.join("aside"), &parts).unwrap();
    assert_eq!(newest_intact(folder.path()), (Some(3), 0));
    write(&checkpointer, 5, 2);
    checkpointer.acknowledged(5);
    wait("the next one is complete", || checkpointer.newest() == 5);
    assert_eq!(newest_intact(folder.path()), (Some(5), 0));
}

#[test]
fn a_place_is_a_folder_or_a_bucket() {
    let parse = |text| Location::parse(text, None, Path::new("/data"));
    assert_eq!(parse("checkpoints").unwrap(), Location::Folder("/data/checkpoints".into()));
    assert_eq!(parse("/elsewhere").unwrap(), Location::Folder("/elsewhere".into()));
    let bucket = Location::S3 { bucket: "b".to_owned(), prefix: "p/q".to_owned(), endpoint: None };
    assert_eq!(parse("s3://b/p/q/").unwrap(), bucket);
    assert!(parse("s3:///p").is_err() && parse("ftp://b").is_err());
}

/// Against a real store that speaks S3. Its credentials come from the environment, so the test runs itself with them.
#[cfg(feature = "s3")]
#[test]
fn s3_keeps_what_was_written_and_elects_one_writer_at_a_time() {
    const INNER: &str = "AISLE_TEST_OF_S3";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if std::env::var_os(INNER).is_none() {
        let started = std::process::Command::new(root.join("scripts/object-store.sh")).arg("start").output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let text = String::from_utf8(started.stdout).unwrap();
        let variables = text.lines().filter_map(|line| line.split_once('='));
        let myself = "checkpoint_store::tests::s3_keeps_what_was_written_and_elects_one_writer_at_a_time";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let ran = again.args(["--exact", myself]).envs(variables).env(INNER, "1").output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
        return;
    }
    let variable = |name| std::env::var(name).unwrap();
    let location = Location::S3 {
        bucket: variable("AWS_BUCKET"),
        prefix: format!("test-{}", std::process::id()),
        endpoint: Some(variable("AWS_ENDPOINT")),
    };
    let store = || Store::open(&location, 7).unwrap();
    for _ in 0..5 {
        let epochs: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| store().elect().unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let different: std::collections::BTreeSet<u64> = epochs.iter().copied().collect();
        assert_eq!(different.len(), 8, "of those who race each has an epoch of its own: {epochs:?}");
    }
    let checkpointer = Checkpointer::start(store(), options(2)).unwrap();
    for upper in 1..=4 {
        wait("the last one ends", || checkpointer.is_due());
        write(&checkpointer, upper, 2);
        checkpointer.acknowledged(upper);
        wait("it is complete", || checkpointer.newest() == upper);
    }
    let manifest = store().newest(Tick::MAX, |_| Ok(())).unwrap().manifest.unwrap();
    assert_eq!(manifest.position, position(4));
    let all: Vec<Part> = (0..2).flat_map(|worker| parts(4, worker)).collect();
    assert_eq!(read(&store(), &manifest).unwrap(), all);
    assert!(!Store::open(&location, 7).unwrap().has_others().unwrap());
    assert!(Store::open(&location, 8).unwrap().has_others().unwrap());
}

/// The manifest of tick 3, changed so that its checksum holds, under another name.
fn forge(folder: &Path, name: &str, change: impl FnOnce(&mut Manifest)) {
    let manifests = folder.join("0000000000000007/manifests");
    let mut manifest = Manifest::from_bytes(&fs::read(manifests.join(format!("{:020}", 3))).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(manifests.join(name), manifest.to_bytes()).unwrap();
}

/// Whoever tries one checkpoint after the other ends, whatever the manifests say that they are.
#[test]
fn forged_manifests_are_refused_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), [3]);
    forge(folder.path(), &format!("{:020}", 5), |manifest| {
        manifest.position.upper = 100;
        manifest.segments[0].checksum ^= 1;
    });
    forge(folder.path(), &format!("{:020}", 6), |manifest| manifest.position.upper = 0);
    forge(folder.path(), &format!("{:020}", u64::MAX), |manifest| {
        manifest.position.upper = u64::MAX;
        manifest.segments.iter_mut().for_each(|segment| segment.bytes = u64::MAX);
    });
    forge(folder.path(), &format!("{:020}", 7), |manifest| {
        manifest.position.upper = 7;
        manifest.segments[0].bytes = u64::MAX / 2;
    });
    for stray in ["0", "4", "notes", "00000000000000000003.bak"] {
        forge(folder.path(), stray, |_| {});
    }
    fs::File::create(folder.path().join("0000000000000007/manifests").join(format!("{:020}", 8)))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert_eq!(newest_intact(folder.path()), (Some(3), 5));
}

/// Names that nobody gives keep nobody from becoming the writer.
#[test]
fn stray_names_among_the_writers_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), [3]);
    let writers = folder.path().join("0000000000000007/writers");
    for stray in ["5", "00000000004", "x", "99999999999999999999999"] {
        fs::write(writers.join(stray), "").unwrap();
    }
    assert_eq!(open(folder.path()).elect().unwrap(), 2);
    fs::write(writers.join(u64::MAX.to_string()), "").unwrap();
    let error = open(folder.path()).elect().unwrap_err();
    assert!(matches!(error, StoreError::NoWriter { attempts: 1_000, .. }), "{error}");
}

/// What is done to a byte at a place.
type Mutation = (prop::sample::Index, u8, u8);

fn mutated(bytes: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, what, byte) in mutations {
        let place = place.index(bytes.len());
        match what % 5 {
            0 => bytes[place] = *byte,
            1 => bytes[place] ^= 1 << (byte % 8),
            2 if place > 0 => bytes.truncate(place),
            3 if bytes.len() > 1 => drop(bytes.remove(place)),
            _ => bytes.insert(place, b"0123456789\"{}[],:\xff"[usize::from(*byte) % 18]),
        }
    }
    bytes
}

proptest! {
    /// Any bytes of a manifest or a segment are a checkpoint or words, soon, and without much memory.
    #[test]
    fn mutated_manifests_and_segments_are_read_or_refused(
        of_manifest in prop::collection::vec(any::<Mutation>(), 1..4),
        of_segment in prop::collection::vec(any::<Mutation>(), 1..4),
    ) {
        static WRITTEN: LazyLock<(Manifest, Vec<u8>)> = LazyLock::new(|| {
            let folder = tempfile::tempdir().unwrap();
            written(folder.path(), [3]);
            let store = open(folder.path());
            let manifest = store.newest(Tick::MAX, |_| Ok(())).unwrap().manifest.unwrap();
            let segment = store.get(&manifest.segments[0].object).unwrap();
            (manifest, segment)
        });
        let (manifest, segment) = &*WRITTEN;
        // The checksum is made to hold, so that what lies behind it is reached.
        let text = manifest.to_bytes();
        let json = mutated(text.split(|byte| *byte == b'\n').next().unwrap(), &of_manifest);
        let checksum = format!("\n{:08x}\n", crc32fast::hash(&json));
        if let Ok(manifest) = Manifest::from_bytes(&[json, checksum.into_bytes()].concat()) {
            manifest.bytes();
        }
        let _ = segment::parcels(mutated(segment, &of_segment), |_| true, drop);
    }
}
