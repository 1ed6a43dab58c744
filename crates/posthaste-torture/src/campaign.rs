//! One campaign: a server, clients at work, a nemesis, and in the end a drain and a judgement.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::checker::{Fault, Violation, check};
use crate::clients::{Client, EFFECTS, GROUPS, ORDERS, Scene};
use crate::disk::{COMMIT_SECONDS, CutDisk};
use crate::draw::Draw;
use crate::history::{Counters, GroupEnd, History, What};
use crate::server::{Launch, Server};

/// After this long a drain is given up.
const DRAIN: Duration = Duration::from_secs(240);

/// What is done to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nemesis {
    /// `kill -9`.
    Kill,
    /// The power of its disk is cut, and it is killed.
    Power,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// What is done.
    pub nemesis: Nemesis,
    /// The server's binary.
    pub binary: PathBuf,
    /// How often it is done.
    pub rounds: u32,
    /// What chance is drawn from.
    pub seed: u64,
    /// Threads that enqueue, and as many that work; half as many publish, and are members of each
    /// group.
    pub clients: u32,
    /// Where the store and the image are kept; removed in the end.
    pub dir: PathBuf,
    /// Faults for the server to plant in itself, with commas between them: `skip-sync`,
    /// `small-segments`.
    pub fault: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Everything that was asked and answered.
    pub history: History,
    /// What is wrong with it.
    pub violations: Vec<Violation>,
    /// How long it took.
    pub took: Duration,
}

/// What the server said in the end: of its queue, and of its groups.
type Drained = (Counters, Vec<GroupEnd>);

/// Where the store is, and how it comes back.
enum Ground {
    Plain(PathBuf),
    Cut(CutDisk),
}

impl Ground {
    fn new(campaign: &Campaign) -> Result<Self, String> {
        let dir = &campaign.dir;
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        match campaign.nemesis {
            Nemesis::Kill => Ok(Self::Plain(dir.join("store"))),
            Nemesis::Power => {
                let mut disk = CutDisk::new(dir)?;
                disk.mount(COMMIT_SECONDS[0])?;
                Ok(Self::Cut(disk))
            }
        }
    }

    fn store(&self) -> PathBuf {
        match self {
            Self::Plain(store) => store.clone(),
            Self::Cut(disk) => disk.store(),
        }
    }

    /// Strikes the server down.
    fn strike(&mut self, server: &mut Server, round: usize) -> Result<(), String> {
        match self {
            Self::Plain(_) => {
                server.kill();
                Ok(())
            }
            Self::Cut(disk) => {
                // Power ends programs and disk at the same instant. The kernel's shutdown of a
                // file system does not: a sync that it catches in the middle of turning reserved
                // blocks into written ones returns success. Nobody may be told of that.
                server.freeze()?;
                disk.cut()?;
                server.kill();
                disk.unmount()?;
                disk.mount(COMMIT_SECONDS[round % COMMIT_SECONDS.len()])
            }
        }
    }
}

impl Campaign {
    /// Runs it; `progress` is told the round, now and then.
    ///
    /// # Errors
    /// What kept it from running: no binary, no root, a server that does not come up again.
    pub fn run(&self, progress: impl Fn(u32)) -> Result<Report, String> {
        let start = Instant::now();
        let report = self.play(progress);
        let cleaned = fs::remove_dir_all(&self.dir);
        let (history, violations) = report?;
        cleaned.map_err(|error| format!("{}: {error}", self.dir.display()))?;
        Ok(Report {
            history,
            violations,
            took: start.elapsed(),
        })
    }

    fn play(&self, progress: impl Fn(u32)) -> Result<(History, Vec<Violation>), String> {
        let mut ground = Ground::new(self)?;
        let launch = Launch {
            binary: self.binary.clone(),
            fault: self.fault.clone(),
        };
        let scene = Scene::new();
        let played = thread::scope(|scope| {
            let client = |number| Client::new(&scene, number, self.seed);
            for number in 1..=self.clients {
                scope.spawn(move || client(number).enqueue());
                scope.spawn(move || client(1_000 + number).work());
            }
            for number in 1..=self.clients.div_ceil(2) {
                scope.spawn(move || client(2_000 + number).publish());
                for (group, from) in GROUPS.into_iter().zip([3_000, 4_000]) {
                    scope.spawn(move || client(from + number).take_part(group));
                }
            }
            scope.spawn(move || client(5_001).poll(ORDERS));
            scope.spawn(move || client(5_002).follow(ORDERS));
            scope.spawn(move || client(5_003).follow(EFFECTS));
            scope.spawn(move || client(5_004).watch());
            let played = self.rounds(&mut ground, &launch, &scene, progress);
            scene.over.store(true, Ordering::Relaxed);
            played
        });
        let ((counters, groups), mut violations) = played?;
        let history = History {
            counters: Some(counters),
            groups,
            entries: scene.recorder.take(),
        };
        violations.extend(check(&history));
        Ok((history, violations))
    }

    fn rounds(
        &self,
        ground: &mut Ground,
        launch: &Launch,
        scene: &Scene,
        progress: impl Fn(u32),
    ) -> Result<(Drained, Vec<Violation>), String> {
        let (mut draw, mut unopened) = (Draw::new(self.seed, 0), Vec::new());
        let mut server = up(launch, &ground.store(), scene)?;
        Client::new(scene, 0, self.seed).prepare(server.address)?;
        scene.place.set(Some(server.address));
        for round in 0..self.rounds {
            // Long enough, now and then, for leases to lapse: each restart begins them afresh.
            let long = draw.one_in(8);
            thread::sleep(if long {
                draw.millis(400, 1_200)
            } else {
                draw.millis(20, 160)
            });
            let invoked = scene.recorder.now();
            scene.place.set(None);
            ground.strike(&mut server, round as usize)?;
            let power = self.nemesis == Nemesis::Power;
            scene.recorder.add(0, invoked, What::Down { power });
            progress(round + 1);
            server = match up(launch, &ground.store(), scene) {
                Ok(server) => server,
                Err(story) => {
                    let fault = Fault::Unopened;
                    unopened.push(Violation { fault, story });
                    self.begin_anew(ground, launch, scene, round)?
                }
            };
            scene.place.set(Some(server.address));
        }
        scene.draining.store(true, Ordering::Relaxed);
        let drained = self.drain(scene);
        scene.over.store(true, Ordering::Relaxed);
        scene.place.set(None);
        server.kill();
        Ok((drained?, unopened))
    }

    /// A store that does not open is put aside, and an empty one taken: what was in it is lost, and
    /// the rest is judged all the same.
    fn begin_anew(
        &self,
        ground: &Ground,
        launch: &Launch,
        scene: &Scene,
        round: u32,
    ) -> Result<Server, String> {
        let store = ground.store();
        let aside = store.with_extension(format!("{round}"));
        fs::rename(&store, aside).map_err(|error| format!("{}: {error}", store.display()))?;
        let server = up(launch, &store, scene)?;
        Client::new(scene, 0, self.seed).prepare(server.address)?;
        Ok(server)
    }

    /// Waits until nothing waits or runs any more and the groups are through, for a while; then
    /// what is left is told, and everything is read once more.
    fn drain(&self, scene: &Scene) -> Result<Drained, String> {
        let start = Instant::now();
        let mut watcher = Client::new(scene, 0, self.seed);
        loop {
            let late = start.elapsed() > DRAIN;
            let groups = watcher.groups(late);
            let counters = watcher.counters().filter(|it| it.unfinished == 0 || late);
            match (counters, groups) {
                (Some(counters), Some(groups)) => {
                    watcher.read_all()?;
                    return Ok((counters, groups));
                }
                _ if start.elapsed() > DRAIN * 2 => {
                    return Err(String::from(
                        "the server does not show its queues and groups",
                    ));
                }
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

fn up(launch: &Launch, store: &Path, scene: &Scene) -> Result<Server, String> {
    let invoked = scene.recorder.now();
    let server = launch.start(store)?;
    scene.recorder.add(0, invoked, What::Up);
    Ok(server)
}
