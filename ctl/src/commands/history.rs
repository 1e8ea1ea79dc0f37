//! Past runs: from the server, or straight from the database when no flag names a server
//! and none listens, so that results outlive the server that made them.

use metronome_proto::{
    filter::{Filter, Order},
    limits::PAGE_SIZE_MAX,
    run_id::RunId,
    v1::{self, FailureCode},
};

use super::context::Context;
use crate::{
    client::{Client, PAGES_MAX},
    embedded::StoredRuns,
    exit::{Failure, bad_flag},
};

/// How far back a server is searched for a shortened id.
const SEARCHED_RUNS_MAX: u32 = 10_000;

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
        match context.connect_if_any().await? {
            Some(client) => Ok(Self::Server(client)),
            None => StoredRuns::open().map(Self::Stored).map_err(unreadable),
        }
    }

    /// The first runs of a selection.
    pub(crate) async fn runs(
        &self,
        selection: &Selection,
        limit: u32,
    ) -> Result<Vec<v1::Run>, Failure> {
        match self {
            Self::Server(client) => runs(client, selection, limit).await,
            Self::Stored(None) => Ok(Vec::new()),
            Self::Stored(Some(stored)) => stored
                .runs(&selection.filter, selection.order, None, limit as usize)
                .map_err(unreadable),
        }
    }

    /// A run by its id, a prefix of it, or `last`.
    pub(crate) async fn run(&self, name: &str) -> Result<v1::Run, Failure> {
        match self {
            Self::Server(client) => client.run(&run_id(client, name).await?).await,
            Self::Stored(None) => Err(pick(name, &[]).err().unwrap_or_else(|| unknown(name))),
            Self::Stored(Some(stored)) => stored_run(stored, name),
        }
    }

    /// The run of a request_id.
    pub(crate) async fn run_of_request(&self, request_id: &str) -> Result<v1::Run, Failure> {
        let found = match self {
            Self::Server(client) => return client.run_of_request(request_id).await,
            Self::Stored(None) => None,
            Self::Stored(Some(stored)) => stored.run_of_request(request_id).map_err(unreadable)?,
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
            Self::Stored(Some(stored)) => {
                let id = run_id.parse().map_err(|_| unknown(run_id))?;
                stored.clients(id).map_err(unreadable)
            }
        }
    }
}

fn stored_run(stored: &StoredRuns, name: &str) -> Result<v1::Run, Failure> {
    // Ids are in order, so the runs of a prefix are the newest below its end: two of them suffice.
    let Selection { filter, order, .. } = Selection::default();
    let candidates = stored.runs(&filter, order, end_of_prefix(name), 2);
    let candidates = candidates.map_err(unreadable)?;
    let id: RunId = pick(name, &candidates)?
        .parse()
        .map_err(|_| unknown(name))?;
    stored
        .run(id)
        .map_err(unreadable)?
        .ok_or_else(|| unknown(name))
}

/// The first id that comes after all those that begin with these digits; `None` when none does.
fn end_of_prefix(name: &str) -> Option<RunId> {
    let free_bits = 4 * u32::try_from(RUN_ID_DIGITS.checked_sub(name.len())?).ok()?;
    let prefix = u64::from_str_radix(name, 16).ok()?;
    let end = (u128::from(prefix) + 1) << free_bits;
    u64::try_from(end).ok().map(RunId::from_bits)
}

/// The id that a name stands for: itself, the id that it is a prefix of, or the newest for `last`.
pub(crate) async fn run_id(client: &Client, name: &str) -> Result<String, Failure> {
    if let Ok(run_id) = name.parse::<RunId>() {
        return Ok(run_id.to_string());
    }
    let searched = if name == LAST { 1 } else { SEARCHED_RUNS_MAX };
    pick(name, &runs(client, &Selection::default(), searched).await?)
}

async fn runs(client: &Client, selection: &Selection, limit: u32) -> Result<Vec<v1::Run>, Failure> {
    let mut listed: Vec<v1::Run> = Vec::new();
    let mut page_token = String::new();
    for _ in 0..PAGES_MAX {
        let missing = limit.saturating_sub(u32::try_from(listed.len()).unwrap_or(u32::MAX));
        let request = v1::ListRunsRequest {
            page_size: missing.clamp(1, PAGE_SIZE_MAX),
            page_token,
            filter: selection.text.clone(),
            order_by: selection.order.to_string(),
            view: v1::RunView::Basic.into(),
        };
        let page = client.runs(request).await;
        let page = page.map_err(|failure| selection.explain(failure))?;
        listed.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() || listed.len() >= limit as usize {
            break;
        }
    }
    listed.truncate(limit as usize);
    Ok(listed)
}

/// Which of the runs `name` means. They are in order, newest first.
fn pick(name: &str, runs: &[v1::Run]) -> Result<String, Failure> {
    if name == LAST {
        return runs
            .first()
            .map(|run| run.run_id.clone())
            .ok_or_else(|| Failure::new(FailureCode::RunUnknown, "there is no run yet"));
    }
    let is_prefix = (1..=RUN_ID_DIGITS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_prefix {
        let problem = format!(
            "{name:?} names no run; give an id as `benchctl runs` lists it, a prefix of one, \
             or last"
        );
        return Err(bad_flag(RUN, problem));
    }
    let prefix = name.to_ascii_lowercase();
    let meant: Vec<&str> = runs
        .iter()
        .map(|run| run.run_id.as_str())
        .filter(|id| id.starts_with(&prefix))
        .collect();
    match meant[..] {
        [] => Err(unknown(&prefix)),
        [run_id] => Ok(run_id.into()),
        [first, second, ..] => {
            let problem = format!(
                "more than one run begins with {prefix}, among them {first} and {second}; \
                 give more digits"
            );
            Err(bad_flag(RUN, problem))
        }
    }
}

fn unreadable(error: anyhow::Error) -> Failure {
    Failure::new(FailureCode::HistoryFailed, format!("{error:#}"))
}

fn unknown(name: &str) -> Failure {
    Failure::new(FailureCode::RunUnknown, format!("no run {name} is known")).with("run_id", name)
}

const LAST: &str = "last";
/// The argument that names a run, as help has it.
const RUN: &str = "RUN";
const RUN_ID_DIGITS: usize = 16;

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

    #[test]
    fn a_name_is_last_an_id_or_a_prefix_that_only_one_run_has() {
        let runs = runs(&["00000000000000b2", "00000000000000b1", "0a00000000000000"]);
        assert_eq!(pick("last", &runs), Ok("00000000000000b2".into()));
        assert_eq!(pick("0A", &runs), Ok("0a00000000000000".into()));
        assert_eq!(
            pick("00000000000000b1", &runs),
            Ok("00000000000000b1".into())
        );
        let exit_of = |name| pick(name, &runs).map_err(|failure| Exit::of_failure(&failure));
        assert_eq!(exit_of("00"), Err(Exit::Usage));
        assert_eq!(exit_of("ff"), Err(Exit::Other));
        for name in ["", "xyz", "00000000000000b11", "\u{1b}[31m"] {
            assert_eq!(exit_of(name), Err(Exit::Usage), "{name}");
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_the_first_id_without_it() {
        for (prefix, end) in [
            ("01", "0200000000000000"),
            ("0f", "1000000000000000"),
            ("00000000000000ff", "0000000000000100"),
        ] {
            assert_eq!(
                end_of_prefix(prefix).map(|id| id.to_string()).as_deref(),
                Some(end),
                "{prefix}"
            );
        }
        for name in ["last", "ff", "ffffffffffffffff", ""] {
            assert_eq!(end_of_prefix(name), None, "{name}");
        }
    }

    #[test]
    fn there_is_no_last_of_no_runs() {
        let failure = pick("last", &[]).expect_err("there is none");
        assert_eq!(failure.code(), FailureCode::RunUnknown);
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
