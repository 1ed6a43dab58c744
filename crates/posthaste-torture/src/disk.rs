//! A disk whose power can be cut: an ext4 image on a loop device, shut down without flushing.
//!
//! Needs root, `mkfs.ext4`, `mount`, `umount` and `xfs_io`; says so where one is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The size of the image: room for the store's segments and its reserve. Sparse.
const IMAGE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Seconds between the commits of ext4's own journal: the usual, a busy one and one that almost
/// never comes.
pub(crate) const COMMIT_SECONDS: [u32; 3] = [5, 1, 1_000];

/// A mounted image.
#[derive(Debug)]
pub(crate) struct CutDisk {
    image: PathBuf,
    mount: PathBuf,
    mounted: bool,
}

impl CutDisk {
    /// Makes an image below `dir` and mounts it.
    ///
    /// # Errors
    /// What is missing, or what failed.
    pub(crate) fn new(dir: &Path) -> Result<Self, String> {
        for (tool, version) in [
            ("mkfs.ext4", "-V"),
            ("mount", "--version"),
            ("umount", "--version"),
            ("xfs_io", "-V"),
        ] {
            if Command::new(tool).arg(version).output().is_err() {
                return Err(format!(
                    "{tool} is not there; install e2fsprogs, mount and xfsprogs to cut the power"
                ));
            }
        }
        let disk = Self {
            image: dir.join("disk.img"),
            mount: dir.join("mnt"),
            mounted: false,
        };
        fs::create_dir_all(&disk.mount).map_err(|error| format!("{dir:?}: {error}"))?;
        let image = fs::File::create(&disk.image).map_err(|error| format!("{dir:?}: {error}"))?;
        let sized = image.set_len(IMAGE_BYTES);
        sized.map_err(|error| format!("{:?}: {error}", disk.image))?;
        let path = disk.image.clone();
        run("mkfs.ext4", |it| it.args(["-q", "-F"]).arg(&path))?;
        Ok(disk)
    }

    /// Where the store is kept.
    pub(crate) fn store(&self) -> PathBuf {
        self.mount.join("store")
    }

    /// Mounts it, with ext4's own commits so many seconds apart.
    ///
    /// # Errors
    /// What failed; without root, that.
    pub(crate) fn mount(&mut self, commit_seconds: u32) -> Result<(), String> {
        let options = format!("loop,commit={commit_seconds}");
        let (image, mount) = (self.image.clone(), self.mount.clone());
        run("mount", |it| {
            it.args(["-o", &options]).arg(image).arg(mount)
        })
        .map_err(|error| format!("{error}; cutting the power needs root and loop devices"))?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts the power: from here on nothing reaches the disk, and what was not synced is gone.
    ///
    /// # Errors
    /// What failed.
    pub(crate) fn cut(&self) -> Result<(), String> {
        let mount = self.mount.clone();
        run("xfs_io", |it| it.args(["-x", "-c", "shutdown"]).arg(mount))
    }

    /// Unmounts it. Whoever used it must be gone; the kernel may take a moment to notice.
    ///
    /// # Errors
    /// What failed.
    pub(crate) fn unmount(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let mount = self.mount.clone();
            match run("umount", |it| it.arg(mount)) {
                Ok(()) => break,
                Err(error) if start.elapsed() > Duration::from_secs(10) => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        self.mounted = false;
        Ok(())
    }
}

impl Drop for CutDisk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = self.unmount();
        }
        let _ = fs::remove_file(&self.image);
    }
}

fn run(tool: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<(), String> {
    let mut command = Command::new(tool);
    let output = arguments(&mut command)
        .output()
        .map_err(|error| format!("{tool} can't be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{tool} failed: {said}"))
}
