//! `docs/guide/walkthrough-files.md`, with the server killed three times on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::binary::{self, Running, posthaste, run_with};
use crate::exec::decode_bytes;

/// How many files.
const FILES: usize = 3_000;
/// Where real ones are found.
const TREES: [&str; 4] = ["/usr/share", "/usr/include", "/usr/lib", "/etc"];
/// Larger files would only show how fast the checksum is.
const FILE_BYTES_MAX: u64 = 1 << 20;

const CHECKSUM: &str = "f=$(cat; printf x)\nsha256sum -- \"${f%x}\" || exit 65";

/// Walks a tree, and takes its plain files until there are enough.
fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        if files.len() >= FILES {
            return;
        }
        match entry.metadata() {
            Ok(found) if found.is_dir() => walk(&entry.path(), files),
            Ok(found) if found.is_file() && found.len() <= FILE_BYTES_MAX => {
                files.push(entry.path())
            }
            _ => {}
        }
    }
}

/// Files with names that break careless scripts.
fn odd_files(dir: &Path) -> Vec<PathBuf> {
    let names: [&[u8]; 7] = [
        b"-n",
        b"two words",
        b"it's \"quoted\"",
        b"$(touch harm)",
        b"line\nend\n",
        b"\xff\xfe",
        b"back\\slash",
    ];
    let files = names.map(|name| dir.join(OsStr::from_bytes(name)));
    for file in &files {
        fs::write(file, file.as_os_str().as_bytes()).expect("written");
    }
    files.to_vec()
}

/// What `sha256sum` says of a file, and whether it could.
fn direct(file: &Path) -> Option<Vec<u8>> {
    let output = Command::new("sha256sum")
        .arg("--")
        .arg(file)
        .output()
        .expect("sha256sum runs");
    output.status.success().then_some(output.stdout)
}

struct Killed<'a> {
    dir: &'a Path,
    address: String,
    server: Running,
    url: String,
    times: u32,
}

impl<'a> Killed<'a> {
    fn start(dir: &'a Path) -> Self {
        let (server, url) = Running::serve(dir, "file:./data", "127.0.0.1:0");
        let address = url.trim_start_matches("http://").to_owned();
        Self {
            dir,
            address,
            server,
            url,
            times: 0,
        }
    }

    fn kill_and_start(&mut self) {
        self.server.kill();
        self.server = Running::serve(self.dir, "file:./data", &self.address).0;
        self.times += 1;
    }

    fn held(&self, state: &str) -> usize {
        let queues = binary::json(self.dir, &["queues", "list", "--store", &self.url]);
        let held = queues["queues"][0][state].as_u64().unwrap_or(0);
        usize::try_from(held).expect("a number of files")
    }
}

fn jobs(dir: &Path, url: &str, state: &str) -> Vec<Value> {
    let list = [
        "jobs", "list", "--queue", "files", "--state", state, "--max", "1000000",
    ];
    let page = binary::json(dir, &[&list[..], &["--store", url]].concat());
    page["jobs"].as_array().expect("jobs").clone()
}

fn bytes(job: &Value, field: &str) -> Vec<u8> {
    decode_bytes(
        job[field]
            .as_str()
            .unwrap_or_else(|| panic!("no {field}: {job}")),
    )
}

#[test]
fn every_file_has_its_checksum_although_the_server_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, tree) = (dir.path().join("data-of-server"), dir.path().join("tree"));
    fs::create_dir_all(&data).expect("created");
    fs::create_dir_all(&tree).expect("created");
    let mut files = odd_files(&tree);
    let vanished = [tree.join("gone"), tree.join("gone too")];
    for file in &vanished {
        fs::write(file, "here for now").expect("written");
    }
    // Nobody can read a socket as a file, not even root.
    let unreadable = tree.join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&unreadable).expect("bound");
    for tree in TREES {
        walk(Path::new(tree), &mut files);
    }
    assert!(
        files.len() >= 1_000,
        "only {} files to work on",
        files.len()
    );
    let hopeless: BTreeSet<&PathBuf> = vanished.iter().chain([&unreadable]).collect();
    let all: Vec<&PathBuf> = files.iter().chain(hopeless.iter().copied()).collect();

    let mut server = Killed::start(&data);
    let names = all
        .iter()
        .flat_map(|file| [file.as_os_str().as_bytes(), b"\0"].concat());
    let enqueue = [
        "enqueue", "--kind", "checksum", "--queue", "files", "--lines", "--null",
    ];
    let arguments = [&enqueue[..], &["--store", &server.url]].concat();
    let enqueued = run_with(&data, &arguments, &names.collect::<Vec<u8>>());
    assert!(enqueued.status.success(), "{enqueued:?}");
    for file in &vanished {
        fs::remove_file(file).expect("removed");
    }

    let mut work = posthaste(&data);
    work.args([
        "work",
        "--queue",
        "files",
        "--concurrency",
        "4",
        "--exec",
        CHECKSUM,
        "--json",
    ]);
    work.args(["--lease", "5s", "--store", &server.url])
        .stderr(std::process::Stdio::null());
    let mut worker = Running::start(&mut work);
    let settled = |count: usize, worker: &mut Running| {
        (0..count).for_each(|_| assert!(!worker.line().is_empty(), "the worker ended"));
    };
    for _ in 0..3 {
        settled(all.len() / 5, &mut worker);
        server.kill_and_start();
    }
    while server.held("completed") + server.held("dead") < all.len() {
        settled(1, &mut worker);
    }
    assert_eq!(server.times, 3);

    let collected: BTreeMap<Vec<u8>, Vec<u8>> = jobs(&data, &server.url, "completed")
        .iter()
        .map(|job| (bytes(job, "payload_base64"), bytes(job, "result_base64")))
        .collect();
    let expected: BTreeMap<Vec<u8>, Vec<u8>> = files
        .iter()
        .filter_map(|file| Some((file.as_os_str().as_bytes().to_vec(), direct(file)?)))
        .collect();
    assert_eq!(collected.len(), expected.len());
    assert!(
        collected == expected,
        "the results differ from a direct run"
    );
    let dead: BTreeSet<Vec<u8>> = jobs(&data, &server.url, "dead")
        .iter()
        .map(|job| bytes(job, "payload_base64"))
        .collect();
    let hopeless = hopeless
        .iter()
        .map(|file| file.as_os_str().as_bytes().to_vec());
    assert_eq!(dead, hopeless.collect());
}
