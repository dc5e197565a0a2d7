//! A disk of a few mebibytes that no other process fills: a file system in memory, mounted in a namespace of its own.
//!
//! Everybody reaches it through `/proc/PID/root` of the process that holds the namespace, and it ends with that process.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::MIB;
use crate::harness;

/// A mounted disk; dropping it unmounts it.
pub struct SmallDisk {
    holder: Child,
    path: PathBuf,
    _mount_point: TempDir,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// Some systems let nobody but root mount, not even in a namespace. There this says why and returns none, so that what
    /// needs such a disk is not tried; with `REGROW_FAULTS=all` it panics.
    pub fn mount(mebibytes: usize) -> Option<Self> {
        match Self::mount_by("unshare", mebibytes) {
            Ok(disk) => Some(disk),
            Err(why) => {
                assert!(!harness::takes_long(), "{why}");
                println!("NOT TRIED: {why}");
                None
            }
        }
    }

    /// Mounts one by a program with the arguments of `unshare`; returns why not, where the system does not let it.
    fn mount_by(unshare: &str, mebibytes: usize) -> Result<Self, String> {
        let mount_point = tempfile::tempdir().unwrap();
        let script = format!("mount -t tmpfs -o size={mebibytes}m none \"$0\" && echo mounted && exec sleep infinity");
        let mut holder = Command::new(unshare)
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(mount_point.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) can be started");
        let mut answer = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut answer).unwrap();
        if answer != "mounted\n" {
            let _ = holder.wait();
            return Err("a full disk cannot be tried: this system lets nobody mount a file system in a user namespace; allow it \
                        (kernel.apparmor_restrict_unprivileged_userns=0) or run this as root"
                .into());
        }
        let mut path = PathBuf::from(format!("/proc/{}/root", holder.id()));
        path.push(mount_point.path().strip_prefix("/").unwrap());
        Ok(Self { holder, path, _mount_point: mount_point })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves no more than so much room, whatever else is written.
    pub fn fill(&self, room: usize) -> Filler {
        let path = self.path.join("filler");
        let mut file = File::create(&path).unwrap();
        let chunk = vec![0; 4096];
        let error = loop {
            if let Err(error) = file.write_all(&chunk) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        let size = file.metadata().unwrap().len();
        file.set_len(size.saturating_sub(room as u64)).unwrap();
        println!("filled {} MiB, {room} bytes are free", size / MIB as u64);
        Filler(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// What takes the room; dropping it makes room again.
pub struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn where_nobody_may_mount_it_is_said_what_allows_it() {
    let refused = SmallDisk::mount_by("false", 1).map(drop).unwrap_err();
    assert!(refused.contains("lets nobody mount") && refused.contains("or run this as root"), "{refused}");
}
