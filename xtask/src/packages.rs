//! The programs that the tests need beside Rust, and the Debian packages they come in.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::report::Found;

struct Needed {
    program: &'static str,
    package: &'static str,
    what_for: &'static str,
}

const NEEDED: [Needed; 5] = [
    Needed {
        program: "cc",
        package: "gcc",
        what_for: "linking",
    },
    Needed {
        program: "mkfs.ext4",
        package: "e2fsprogs",
        what_for: "the file system whose power is cut",
    },
    Needed {
        program: "xfs_io",
        package: "xfsprogs",
        what_for: "cutting the power of a file system",
    },
    Needed {
        program: "strace",
        package: "strace",
        what_for: "failing the store's system calls",
    },
    Needed {
        program: "chromium",
        package: "chromium",
        what_for: "following a topic in a browser",
    },
];

/// Installs what is missing where that is possible, and says what to do where it is not.
pub(crate) fn install() -> Found {
    let missing = missing();
    if missing.is_empty() {
        return Found::Fine(vec!["everything the tests need is here".to_owned()]);
    }
    let packages: Vec<_> = missing.iter().map(|needed| needed.package).collect();
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if !is_root() || find("apt-get").is_none() {
        let mut wrong: Vec<_> = missing
            .iter()
            .map(|needed| format!("{} is missing, for {}", needed.program, needed.what_for))
            .collect();
        wrong.push(format!("install as root (on Debian: {by_hand})"));
        return Found::Wrong(wrong);
    }
    say!("   {by_hand}");
    let installed = apt(&["update"])
        && apt(&[&["install", "-y", "--no-install-recommends"], &packages[..]].concat());
    let left = self::missing();
    if installed && left.is_empty() {
        return Found::Fine(vec![format!("installed {}", packages.join(" "))]);
    }
    Found::Wrong(vec![format!("could not install them; try: {by_hand}")])
}

fn missing() -> Vec<&'static Needed> {
    NEEDED
        .iter()
        .filter(|needed| find(needed.program).is_none())
        .collect()
}

fn apt(args: &[&str]) -> bool {
    Command::new("apt-get")
        .args(["-qq", "-o", "Dpkg::Use-Pty=0"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether file systems can be mounted and packages installed.
pub(crate) fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether a program is here.
pub(crate) fn is_here(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is; system programs are looked for also where the path does not lead.
fn find(program: &str) -> Option<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(|dir| Path::new(dir).to_owned()))
        .any(|dir| dir.join(program).is_file())
        .then_some(())
}
