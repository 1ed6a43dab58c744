//! The whole disk: files and directories by number, and a capacity.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::Chance;
use super::directory::Directory;
use super::file::File;

/// What a power cut does to whatever was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// All of it is lost.
    Lost,
    /// All of it is kept.
    Kept,
    /// Kept up to some point in each file and directory.
    InOrder,
    /// Any of it is kept: sectors and names one by one.
    Any,
}

impl Cut {
    fn draw(chance: &mut Chance) -> Self {
        match chance.below(8) {
            0 => Self::Lost,
            1 => Self::Kept,
            2 | 3 => Self::InOrder,
            _ => Self::Any,
        }
    }

    pub(super) fn keeps(self, chance: &mut Chance) -> bool {
        match self {
            Self::Lost => false,
            Self::Kept => true,
            Self::InOrder | Self::Any => chance.one_in(2),
        }
    }
}

/// The number of a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(usize),
    Directory(usize),
}

/// Everything on the disk.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    files: Vec<File>,
    /// The first is the root.
    directories: Vec<Directory>,
    pub(super) capacity: Option<u64>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            files: Vec::new(),
            directories: vec![Directory::default()],
            capacity: None,
        }
    }

    pub(super) fn file(&mut self, number: usize) -> &mut File {
        &mut self.files[number]
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Directory(0);
        for name in parts(path) {
            let Node::Directory(number) = node else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            node = *self.directories[number]
                .names()
                .get(&name)
                .ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<usize> {
        match self.find(path)? {
            Node::File(number) => Ok(number),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn directory(&mut self, path: &Path) -> io::Result<&mut Directory> {
        match self.find(path)? {
            Node::Directory(number) => Ok(&mut self.directories[number]),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<usize> {
        if self.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (parent, name) = split(path)?;
        let number = self.files.len();
        self.directory(parent)?.add(name, Node::File(number));
        self.files.push(File::default());
        Ok(number)
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut at = PathBuf::from("/");
        for name in parts(path) {
            let parent = at.clone();
            at.push(&name);
            match self.find(&at) {
                Ok(Node::Directory(_)) => {}
                Ok(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                Err(_) => {
                    let number = self.directories.len();
                    self.directory(&parent)?.add(name, Node::Directory(number));
                    self.directories.push(Directory::default());
                }
            }
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = Node::File(self.find_file(from)?);
        let ((parent, name), (other, new)) = (split(from)?, split(to)?);
        if parent != other {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this disk renames within one directory only",
            ));
        }
        self.directory(parent)?.rename(name, new, node);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let node = Node::File(self.find_file(path)?);
        let (parent, name) = split(path)?;
        self.directory(parent)?.remove(name, node);
        Ok(())
    }

    pub(super) fn list(&mut self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let names = self.directory(dir)?.names();
        Ok(names.keys().map(|name| dir.join(name)).collect())
    }

    /// Every file that has a name.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut rest = vec![(PathBuf::from("/"), 0)];
        while let Some((path, number)) = rest.pop() {
            for (name, node) in self.directories[number].names() {
                match node {
                    Node::File(_) => found.push(path.join(name)),
                    Node::Directory(inner) => rest.push((path.join(name), *inner)),
                }
            }
        }
        found.sort();
        found
    }

    /// Bytes that can still be written.
    pub(super) fn free(&self) -> u64 {
        let Some(capacity) = self.capacity else {
            return u64::MAX / 2;
        };
        let len = |path: &PathBuf| {
            self.find_file(path)
                .map_or(0, |number| self.files[number].bytes().len() as u64)
        };
        capacity.saturating_sub(self.paths().iter().map(len).sum())
    }

    /// The disk as a power cut leaves it.
    pub(super) fn cut(&self, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let cut = Cut::draw(&mut chance);
        let directories = self.directories.iter();
        let directories = directories.map(|dir| dir.cut(cut, &mut chance)).collect();
        Self {
            directories,
            files: self
                .files
                .iter()
                .map(|file| file.cut(cut, &mut chance))
                .collect(),
            capacity: self.capacity,
        }
    }

    /// The disk as it is seen now, all of it durable.
    pub(super) fn settled(&self) -> Self {
        Self {
            files: self.files.iter().map(File::settled).collect(),
            directories: self.directories.iter().map(Directory::settled).collect(),
            capacity: self.capacity,
        }
    }
}

fn parts(path: &Path) -> Vec<OsString> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

fn split(path: &Path) -> io::Result<(&Path, OsString)> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((parent, name.to_owned()))
}
