//! Past runs: from the server, or straight from the database when no flag names a server
//! and none listens, so that results outlive the server that made them.

use std::str::FromStr;

use metronome_proto::{
    filter::{Filter, Order},
    limits::PAGE_SIZE_MAX,
    run_id::{RunId, RunIdPrefix},
    v1::{self, FailureCode},
};

use super::{context::Context, report_files::Details};
use crate::{
    client::{Client, PAGES_MAX},
    embedded::{Listed, StoredRuns},
    exit::{Failure, bad_flag},
    terminal,
};

/// Which runs are meant, and in which order they are listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// The filter as the user wrote it, so that the place of an error is one in that text.
    text: String,
    filter: Filter,
    order: Order,
}

impl Selection {
    /// The runs of a filter; without one, all.
    pub(crate) fn new(filter: Option<&str>, order: Order) -> Result<Self, Failure> {
        let text = filter.unwrap_or_default();
        let filter = text.parse::<Filter>().map_err(|error| {
            let failure = bad_flag("--filter", &error).with("byte", error.at);
            failure.with("filter", text)
        })?;
        Ok(Self {
            text: text.to_owned(),
            filter,
            order,
        })
    }

    /// The filter as the API takes it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A failure of a request with this filter, which a caret is to be put below where it is about
    /// the filter: a server may be stricter than this version.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        if failure.figures.contains_key("byte") {
            return failure.with("filter", self.text());
        }
        failure
    }
}

/// Where past runs are read.
pub(crate) enum History {
    /// A server is there.
    Server(Client),
    /// No server is there; `None` when there is no database either.
    Stored(Option<StoredRuns>),
}

impl History {
    /// The server's history if there is a server, else the database's.
    pub(crate) async fn open(context: &Context) -> Result<Self, Failure> {
        let found = match context.connect_if_any().await {
            // Not named, and none of ours: it is not in the way of a database.
            Err(failure)
                if context.server.is_none()
                    && failure.code() == FailureCode::ServerIncompatible =>
            {
                let sentence = &failure.sentence;
                terminal::warn(&format!("{sentence}; the database is read"));
                None
            }
            found => found?,
        };
        match found {
            Some(client) => Ok(Self::Server(client)),
            None => StoredRuns::open().map(Self::Stored),
        }
    }

    /// The first runs of a selection, and those on the way that cannot be read.
    pub(crate) async fn runs(&self, selection: &Selection, limit: u32) -> Result<Listed, Failure> {
        match self {
            Self::Server(client) => runs(client, selection, limit).await,
            Self::Stored(None) => Ok(Listed::default()),
            Self::Stored(Some(stored)) => {
                stored.runs(&selection.filter, selection.order, limit as usize)
            }
        }
    }

    /// The id that a name stands for: itself, the id that it is a prefix of, or the newest for
    /// `last`, which is no older run where the newest cannot be read.
    pub(crate) async fn run_id(&self, name: &Name) -> Result<String, Failure> {
        if let Name::Id(id) = name {
            return Ok(id.to_string());
        }
        // Two show whether a prefix has another run.
        let limit = if *name == Name::Last { 1 } else { 2 };
        name.pick(&self.runs(&name.selection(), limit).await?)
    }

    /// A run by its id, a prefix of it, or `last`.
    pub(crate) async fn run(&self, name: &Name) -> Result<v1::Run, Failure> {
        let run_id = self.run_id(name).await?;
        let found = match self {
            Self::Server(client) => return client.run(&run_id).await,
            Self::Stored(None) => None,
            Self::Stored(Some(stored)) => stored.run(id_of(&run_id)?)?,
        };
        found.ok_or_else(|| unknown(&run_id))
    }

    /// The run of a request_id.
    pub(crate) async fn run_of_request(&self, request_id: &str) -> Result<v1::Run, Failure> {
        let found = match self {
            Self::Server(client) => return client.run_of_request(request_id).await,
            Self::Stored(None) => None,
            Self::Stored(Some(stored)) => stored.run_of_request(request_id)?,
        };
        found.ok_or_else(|| {
            let sentence = format!("no run of the request {request_id} is known");
            Failure::new(FailureCode::RunUnknown, sentence).with("request_id", request_id)
        })
    }

    /// The client rows of a run.
    pub(crate) async fn clients(&self, run_id: &str) -> Result<Vec<v1::ClientReport>, Failure> {
        match self {
            Self::Server(client) => client.clients(run_id).await,
            Self::Stored(None) => Ok(Vec::new()),
            Self::Stored(Some(stored)) => stored.clients(id_of(run_id)?),
        }
    }

    /// What the pictures of a run are made of.
    pub(crate) async fn details(&self, run_id: &str) -> Result<Details, Failure> {
        Ok(Details {
            series: self.series(run_id).await?,
            clients: self.clients(run_id).await?,
        })
    }

    /// The series of a run.
    pub(crate) async fn series(&self, run_id: &str) -> Result<v1::Series, Failure> {
        match self {
            Self::Server(client) => client.series(run_id).await,
            Self::Stored(None) => Ok(v1::Series::default()),
            Self::Stored(Some(stored)) => stored.series(id_of(run_id)?),
        }
    }
}

/// How a run is named: by `last`, its id, or a prefix of that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Name {
    Last,
    Id(RunId),
    Prefix(RunIdPrefix),
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name == LAST {
            return Ok(Self::Last);
        }
        let id = name.parse().map(Self::Id);
        let prefix = || name.parse().map(Self::Prefix);
        id.or_else(|_| prefix()).map_err(
            |_| "a run is an id as `benchctl runs` lists it, the first digits of one, or last",
        )
    }
}

impl Name {
    /// Which runs it may be.
    fn selection(&self) -> Selection {
        let Self::Prefix(prefix) = self else {
            return Selection::default();
        };
        let filter = Filter::of_prefix(prefix.clone());
        Selection {
            text: filter.to_string(),
            filter,
            order: Order::default(),
        }
    }

    /// Which of the runs it means. They are those of [`Self::selection`].
    fn pick(&self, listed: &Listed) -> Result<String, Failure> {
        let prefix = match self {
            Self::Id(id) => return Ok(id.to_string()),
            Self::Last => return last(listed),
            Self::Prefix(prefix) => prefix,
        };
        let readable = listed.runs.iter().map(|run| &run.run_id);
        let ids = readable.chain(&listed.unreadable);
        let digits = prefix.to_string();
        let meant: Vec<&String> = ids.filter(|id| id.starts_with(&digits)).collect();
        match meant[..] {
            [] => Err(unknown(&digits)),
            [run_id] => Ok(run_id.clone()),
            [first, second, ..] => {
                let problem = format!(
                    "more than one run begins with {prefix}, among them {first} and {second}; \
                     give more digits"
                );
                Err(bad_flag(RUN, problem))
            }
        }
    }
}

/// The newest run. Ids rise with every run.
fn last(listed: &Listed) -> Result<String, Failure> {
    let newest = listed.runs.first().map(|run| &run.run_id);
    let Some(lost) = listed
        .unreadable
        .iter()
        .filter(|id| Some(*id) > newest)
        .max()
    else {
        let none = || Failure::new(FailureCode::RunUnknown, "there is no run yet");
        return newest.cloned().ok_or_else(none);
    };
    let failure = |what| {
        let sentence =
            format!("the newest run, {lost}, cannot be read: the history is damaged{what}");
        Failure::new(FailureCode::HistoryDamaged, sentence).with("run_id", lost.as_str())
    };
    Err(match newest {
        Some(newest) => Failure {
            remedy: format!(
                "`benchctl show {newest}` shows the newest that can be read; \
                 `benchctl delete {lost}` removes the one that cannot"
            ),
            ..failure(" there")
        },
        None => failure(", and none of the others can be read"),
    })
}

/// Warns of runs that cannot be read, once.
pub(crate) fn warn_of_unreadable(listed: &Listed) {
    if let Some(note) = unreadable_note(listed) {
        terminal::warn(&note);
    }
}

fn unreadable_note(listed: &Listed) -> Option<String> {
    let first = listed.unreadable.first()?;
    let runs = match listed.unreadable.len() {
        1 => format!("run {first} cannot be read, since the history is damaged there"),
        count => format!(
            "{count} runs cannot be read, since the history is damaged there; the first is {first}"
        ),
    };
    let others = if listed.runs.is_empty() {
        "there is no other to list"
    } else {
        "the others are listed"
    };
    Some(format!(
        "{runs}; {others}; `benchctl delete {first}` removes it"
    ))
}

fn id_of(run_id: &str) -> Result<RunId, Failure> {
    run_id.parse().map_err(|_| unknown(run_id))
}

/// The id that a name stands for on a server, as [`History::run_id`] finds it.
pub(crate) async fn run_id(client: &Client, name: &Name) -> Result<String, Failure> {
    History::Server(client.clone()).run_id(name).await
}

async fn runs(client: &Client, selection: &Selection, limit: u32) -> Result<Listed, Failure> {
    let mut listed = Listed::default();
    let mut page_token = String::new();
    for _ in 0..PAGES_MAX {
        let so_far = u32::try_from(listed.runs.len()).unwrap_or(u32::MAX);
        let request = v1::ListRunsRequest {
            page_size: limit.saturating_sub(so_far).clamp(1, PAGE_SIZE_MAX),
            page_token,
            filter: selection.text.clone(),
            order_by: selection.order.to_string(),
            view: v1::RunView::Basic.into(),
        };
        let page = client.runs(request).await;
        let page = page.map_err(|failure| selection.explain(failure))?;
        listed.runs.extend(page.runs);
        listed.unreadable.extend(page.unreadable_run_ids);
        page_token = page.next_page_token;
        if page_token.is_empty() || listed.runs.len() >= limit as usize {
            break;
        }
    }
    listed.runs.truncate(limit as usize);
    Ok(listed)
}

fn unknown(name: &str) -> Failure {
    Failure::new(FailureCode::RunUnknown, format!("no run {name} is known")).with("run_id", name)
}

const LAST: &str = "last";
/// The argument that names a run, as help has it.
const RUN: &str = "RUN";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn runs(ids: &[&str]) -> Vec<v1::Run> {
        ids.iter()
            .map(|id| v1::Run {
                run_id: (*id).into(),
                ..v1::Run::default()
            })
            .collect()
    }

    fn listed(runs: Vec<v1::Run>, unreadable: &[&str]) -> Listed {
        Listed {
            runs,
            unreadable: unreadable.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_name_is_last_an_id_or_a_prefix_that_only_one_run_has() {
        let runs = runs(&["00000000000000b2", "00000000000000b1", "0a00000000000000"]);
        let listed = listed(runs, &["0b00000000000000"]);
        let pick = |name: &str| name.parse::<Name>().expect("a name").pick(&listed);
        assert_eq!(pick("0A"), Ok("0a00000000000000".into()));
        assert_eq!(pick("00000000000000b1"), Ok("00000000000000b1".into()));
        assert_eq!(pick("0b"), Ok("0b00000000000000".into()), "to delete it");
        let exit_of = |name| pick(name).map_err(|failure| Exit::of_failure(&failure));
        assert_eq!(exit_of("00"), Err(Exit::Usage));
        assert_eq!(exit_of("0"), Err(Exit::Usage));
        assert_eq!(exit_of("ff"), Err(Exit::Other));
        for name in ["", "xyz", "00000000000000b11", "\u{1b}[31m"] {
            assert!(name.parse::<Name>().is_err(), "{name}");
        }
    }

    #[test]
    fn the_last_run_is_the_newest_and_never_an_older_one() {
        let (old, new) = ("0a00000000000000", "0b00000000000000");
        let last = |readable: &[&str], unreadable: &[&str]| {
            Name::Last.pick(&listed(runs(readable), unreadable))
        };
        let failure = |readable: &[&str], unreadable: &[&str]| {
            last(readable, unreadable).expect_err("the newest cannot be shown")
        };
        assert_eq!(failure(&[], &[]).code(), FailureCode::RunUnknown);
        assert_eq!(last(&[new], &[old]), Ok(new.into()));
        for readable in [&[][..], &[old]] {
            let failure = failure(readable, &[new]);
            assert_eq!(failure.code(), FailureCode::HistoryDamaged);
            assert_eq!(Exit::of_failure(&failure), Exit::Other);
            assert_eq!(failure.figures["run_id"], new.into());
            let shown = failure.remedy.contains(&format!("benchctl show {old}"));
            assert_eq!(shown, !readable.is_empty(), "{failure:?}");
        }
    }

    #[test]
    fn a_note_of_runs_that_cannot_be_read_promises_no_others() {
        let note = |readable: &[&str], unreadable: &[&str]| {
            unreadable_note(&listed(runs(readable), unreadable))
        };
        assert_eq!(note(&["0a00000000000000"], &[]), None);
        let all = note(&[], &["0b00000000000000"]).expect("a note");
        assert!(!all.contains("the others are listed"), "{all}");
        let some = note(&["0a00000000000000"], &["0b00000000000000"]).expect("a note");
        assert!(some.contains("the others are listed"), "{some}");
    }

    #[test]
    fn an_error_in_a_filter_has_its_place() {
        let failure = Selection::new(Some("state > ENDED"), Order::default()).unwrap_err();
        assert_eq!(Exit::of_failure(&failure), Exit::Usage);
        let figure = |name: &str| failure.figures.get(name).map(ToString::to_string);
        assert_eq!(figure("byte").as_deref(), Some("6"));
        assert_eq!(figure("filter").as_deref(), Some("state > ENDED"));
        assert!(Selection::new(None, Order::default()).is_ok());
    }
}
