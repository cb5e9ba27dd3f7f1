//! A disk that is full: under the checkpoints, the outbox, and the remap log with the change files.
//!
//! A small file system in memory is mounted where those files lie, and filled while the run goes on; so these need root,
//! and say in the table that nothing was tried where they have not got it.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::oracle::judge;
use crate::rig::{Rig, Turn};
use crate::table::{Verdict, row};

/// A file system of its own, unmounted at the end.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf) -> Option<Small> {
        fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Small(at))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for bytes in [1 << 20, 1 << 12] {
            while file.write_all(&vec![1; bytes]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn is_full_under(name: &str, folder: &str, ends: bool) {
    let turn = Turn::take();
    let mut rig = Rig::new(&turn.broker);
    let fault = format!("disk full under {name}");
    let Some(small) = Small::mount(rig.place.path("aisle-data").join(folder)) else {
        row(&fault, "NOT TRIED: mounting a file system needs root", &Verdict::default(), turn.began.elapsed());
        return;
    };
    let flow = rig.flow();
    let mut running = rig.start();
    rig.reads(300);
    small.fill();
    let fired = running.wait_for("os error 28");
    let how = if ends {
        let (code, said) = running.end();
        assert_eq!(code, Some(1), "an error with a name, and the exit code of one: {said}");
        small.make_room();
        running = rig.start();
        "ended with exit code 1, went on when started again"
    } else {
        small.make_room();
        "went on by itself"
    };
    rig.reads(200);
    rig.end_flow(flow);
    rig.reads_everything();
    rig.finish(running);
    assert!(fired.contains("No space left on device"), "{fired}");
    row(&fault, &format!("told: No space left on device; {how}"), &judge(&rig), turn.began.elapsed());
    drop(small);
}

#[test]
fn long_a_disk_full_under_the_checkpoints() {
    is_full_under("checkpoints", "checkpoints", false);
}

#[test]
fn a_disk_full_under_the_outbox() {
    is_full_under("the outbox", "outbox", true);
}

#[test]
fn long_a_disk_full_under_the_change_files() {
    is_full_under("change files", "sinks", true);
}

#[test]
fn long_a_disk_full_under_the_whole_data_folder() {
    is_full_under("the remap log and all else", "", true);
}
