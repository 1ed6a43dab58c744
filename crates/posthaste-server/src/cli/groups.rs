//! `groups`: how far they are, what they may do, and what they gave up on.

mod kept;
mod lag;
mod reset;
mod set;
mod show;

use posthaste_core::group::{GroupSettings, GroupView};
use posthaste_core::port::TailGroup;
use posthaste_core::{
    Command as Verb, Commit, Error, ErrorKind, GroupName, Reply, Result, Store, TopicName, suggest,
};

use super::{Global, SERVER, print, store};

/// What to do with groups.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List every group, how far it is and what it holds
    List {
        /// Of this topic only
        #[arg(long, value_name = "TOPIC")]
        topic: Option<TopicName>,
    },
    /// Show everything that is known of a group
    Show(Names),
    /// Set what is given of a group's settings; makes the group where there is none
    Set(Box<set::Set>),
    /// List how far groups are behind, and since when
    Lag {
        /// Of this topic only
        #[arg(long, value_name = "TOPIC")]
        topic: Option<TopicName>,
    },
    /// Have a group go on elsewhere: back, to handle events again, or ahead
    Reset(reset::Reset),
    /// Hand out nothing; what members hold they keep
    Pause(Names),
    /// Hand out events again
    Resume(Names),
    /// List parked events, or decide on them: release hands them out again, skip forgets them
    Parked(kept::Parked),
    /// List dead letters, or have them handled again
    Dead(kept::Dead),
    /// Have dead letters handled again
    Redrive(kept::Redrive),
    /// Forget a group, its parked events and its dead letters
    Delete {
        #[command(flatten)]
        names: Names,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

/// A group, by its topic and its name.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Names {
    /// The topic
    topic: TopicName,
    /// The group
    group: GroupName,
}

pub(super) async fn run(command: Command, global: &Global) -> Result<()> {
    let store = store::open(global.url(SERVER), &store::How::existing()).await?;
    let done = act(command, &*store, global.json).await;
    let closed = store.close().await;
    done.and(closed)
}

async fn act(command: Command, store: &dyn Store, json: bool) -> Result<()> {
    match command {
        Command::List { topic } => show::list(&all(store, topic.as_ref()).await?, json),
        Command::Show(names) => show::one(&find(store, &names).await?, json),
        Command::Set(set) => set::run(*set, store, json).await?,
        Command::Lag { topic } => lag::run(&all(store, topic.as_ref()).await?, store, json).await,
        Command::Reset(reset) => reset::run(reset, store, json).await?,
        Command::Pause(names) => pause(names, true, store, json).await?,
        Command::Resume(names) => pause(names, false, store, json).await?,
        Command::Parked(parked) => kept::parked(parked, store, json).await?,
        Command::Dead(dead) => kept::dead(dead, store, json).await?,
        Command::Redrive(redrive) => kept::redrive(redrive, store, json).await?,
        Command::Delete { names, yes } => delete(names, yes, store, json).await?,
    }
    Ok(())
}

/// Does one thing, and says what the store answered.
async fn commit(store: &dyn Store, verb: Verb) -> Result<Option<Reply>> {
    let mut reply = None;
    for answer in store.commit(vec![Commit::one(verb)]).await? {
        reply = answer?.replies.into_iter().next();
    }
    Ok(reply)
}

/// A group as it is now.
async fn find(store: &dyn Store, names: &Names) -> Result<GroupView> {
    let ask = TailGroup {
        topic: names.topic.clone(),
        group: names.group.clone(),
        passed: None,
        wait_ms: 0,
    };
    let found = store.tail_group(ask).await;
    if !matches!(&found, Err(error) if error.kind() == ErrorKind::NotFound) {
        return found;
    }
    let groups = store.groups().await?;
    let of = groups.iter().filter(|group| group.topic == names.topic);
    let near = suggest::nearest(names.group.as_str(), of.map(|group| group.name.as_str()));
    let error = Error::new(
        ErrorKind::NotFound,
        format!("the topic {} has no group {}", names.topic, names.group),
    );
    Err(match near {
        Some(near) => error.next(format!("did you mean {near:?}?")),
        None => error.next("see which there are: posthaste groups list"),
    })
}

/// Every group, or those of one topic, which has to be there.
async fn all(store: &dyn Store, topic: Option<&TopicName>) -> Result<Vec<GroupView>> {
    let mut groups = store.groups().await?;
    let Some(topic) = topic else {
        return Ok(groups);
    };
    groups.retain(|group| group.topic == *topic);
    if groups.is_empty() && !store.topics().await?.iter().any(|of| of.name == *topic) {
        let error = Error::new(ErrorKind::NotFound, format!("there is no topic {topic}"));
        return Err(error.next("see which there are: posthaste topics list"));
    }
    Ok(groups)
}

async fn pause(names: Names, paused: bool, store: &dyn Store, json: bool) -> Result<()> {
    // Setting makes a group where there is none; whoever pauses one means one that is there.
    find(store, &names).await?;
    let verb = Verb::SetGroup {
        topic: names.topic.clone(),
        group: names.group.clone(),
        settings: GroupSettings {
            paused: Some(paused),
            ..GroupSettings::default()
        },
        from: None,
    };
    commit(store, verb).await?;
    show::one(&find(store, &names).await?, json);
    Ok(())
}

async fn delete(names: Names, yes: bool, store: &dyn Store, json: bool) -> Result<()> {
    let Names { topic, group } = &names;
    if !yes {
        let view = find(store, &names).await?;
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "the group {group} of {topic} is {} events behind, and has {} parked and {} dead, \
                 which would be forgotten",
                view.lag, view.parked, view.dead
            ),
        )
        .next("give --yes to delete it"));
    }
    let verb = Verb::DeleteGroup {
        topic: topic.clone(),
        group: group.clone(),
    };
    commit(store, verb).await?;
    if json {
        print::json(&serde_json::json!({
            "topic": topic.to_string(),
            "deleted": group.to_string(),
        }));
    } else {
        print::line(&format!("{group} of {topic} deleted"));
    }
    Ok(())
}
