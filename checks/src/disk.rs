//! A file system in memory, small enough to be full.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of a fixed size.
pub struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// `None` where this machine does not let the process mount one.
    pub fn mount(mib: u32) -> Option<Self> {
        let directory = tempfile::tempdir().ok()?;
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).ok()?;
        let mounted = mount(&format!("size={mib}m,mode=0755"), directory.path());
        mounted.then_some(Self { directory })
    }

    /// Makes it larger.
    pub fn grow(&self, mib: u32) -> io::Result<()> {
        if mount(&format!("remount,size={mib}m"), self.directory.path()) {
            Ok(())
        } else {
            Err(io::Error::other("the file system could not be made larger"))
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Where it stays mounted, the directory stays too: nothing else is harmed.
        let _ = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
    }
}

fn mount(options: &str, on: &Path) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tally-full-disk"]).arg(on);
    mount.output().is_ok_and(|output| output.status.success())
}
