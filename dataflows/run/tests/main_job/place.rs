//! Where a run takes place: a folder with a configuration and inputs, and the binary that is started in it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A folder with a configuration and its inputs, removed at the end.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

pub(crate) const CONFIGURATION: &str = r#"
listen = "127.0.0.1:0"

[time]
tick_bytes = 4096
lateness_ms = 60000

[[sources]]
name = "events"
kind = "experiment"
files = "events-*.ndjson"
parallel = true

[[sources]]
name = "facts"
kind = "inventory"
files = "facts.ndjson"

[[tenants]]
name = "north"

[[experiments]]
tenant = "north"
name = "button"
population = "assigned"
variants = [{ name = "control" }, { name = "treatment" }]

[[experiments]]
tenant = "north"
name = "banner"
population = "exposed"
variants = [{ name = "control" }, { name = "treatment" }]
"#;

/// Records with disorder, duplicates in both files, exposures after what they cover, conflicts and broken lines.
pub(crate) fn events(file: u64) -> String {
    let mut lines = String::new();
    for number in 0..400u64 {
        let of = number * 2 + file;
        let time_ms = 1_736_000_000_000 + of * 700 + (of * 7_919 % 5) * 9_000;
        let (session, unit) = (of % 37, of % 23);
        let kind = ["view", "click", "add_to_cart", "purchase", "exposure"][(of % 5) as usize];
        let attributes = if kind == "exposure" { r#","attributes":{"experiment":"banner"}"# } else { "" };
        let line = format!(
            r#"{{"tenant":"north","id":"e{of}","session":"s{session}","unit":"u{unit}","kind":"{kind}","event_time_ms":{time_ms},"value":{}{attributes}}}"#,
            of % 100
        );
        lines.push_str(&line);
        lines.push('\n');
        match number % 50 {
            10 => lines.push_str(&format!("{line}\n")),
            20 => lines.push_str("{\"broken\":\n"),
            30 => lines.push_str(&format!(
                r#"{{"tenant":"north","id":"shared{}","session":"s","kind":"view","event_time_ms":{}}}{}"#,
                number / 50,
                1_736_000_000_000 + number * 1_400,
                "\n"
            )),
            _ => {}
        }
    }
    lines
}

fn facts() -> String {
    let mut lines = String::new();
    for number in 0..300u64 {
        let time_ms = 1_736_000_000_000 + number * 1_900;
        let kind = if number % 11 == 0 { "count" } else { ["sale", "receipt"][(number % 2) as usize] };
        lines.push_str(&format!(
            r#"{{"tenant":"north","id":"f{number}","kind":"{kind}","node":"n{}","sku":"k{}","quantity":{},"event_time_ms":{time_ms},"source":"pos"}}{}"#,
            number % 3,
            number % 7,
            number % 9,
            "\n"
        ));
    }
    lines
}

impl Place {
    pub(crate) fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("aisle.toml"), CONFIGURATION).unwrap();
        for file in 0..2 {
            fs::write(folder.path().join(format!("events-{file}.ndjson")), events(file)).unwrap();
        }
        fs::write(folder.path().join("facts.ndjson"), facts()).unwrap();
        Place { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn aisle(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aisle"));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    pub(crate) fn run_once(&self, more: &[&str]) -> Output {
        let arguments: Vec<&str> =
            ["run", "aisle.toml", "--once", "--listen", "127.0.0.1:0"].iter().chain(more).copied().collect();
        self.aisle(&arguments)
    }
}

pub(crate) fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
pub(crate) fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", told(output));
}

#[track_caller]
pub(crate) fn refuses(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", told(output));
    for word in words {
        assert!(told(output).contains(word), "\"{word}\" is not in: {}", told(output));
    }
}

/// Every byte of every output of a data folder, by file.
pub(crate) fn outputs(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![data.join("sinks")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.strip_prefix(data).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The binary, while it runs. It is killed if the test ends before it does; what it told is printed if the test failed.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    told: String,
}

/// How long a line or an end is waited for before the test fails rather than hangs: longer than a busy cluster may take to start.
const PATIENCE: Duration = Duration::from_secs(600);

impl Place {
    /// Starts the binary and goes on.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, |_| {})
    }

    /// The same in another environment.
    pub(crate) fn start_with(&self, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Running {
        let mut command = self.command(arguments);
        change(&mut command);
        Running::start(command)
    }
}

impl Running {
    /// Starts a command and goes on.
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (told, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Running { child, lines, told: String::new() }
    }

    /// Waits for the line that contains `words`, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            // A run that tells how far it is would be waited for ever otherwise.
            match self.lines.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now())) {
                Ok(line) => {
                    self.told.push_str(&line);
                    self.told.push('\n');
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(error) => panic!("{error} before \"{words}\" was told: {}", self.told),
            }
        }
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends: its exit code, if it was not killed, and everything that it told.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now())) {
            self.told.push_str(&line);
            self.told.push('\n');
        }
        assert!(std::time::Instant::now() < deadline, "it does not end: {}", self.told);
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.told))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.told.extend(self.lines.iter().flat_map(|line| [line, "\n".to_owned()]));
            eprintln!("what the run told before the test failed:\n{}", self.told);
        }
    }
}
