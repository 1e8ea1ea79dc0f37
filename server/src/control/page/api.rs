//! `/api/v1`: the objects of `benchctl … -o json`, from where benchctl has them.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use metronome_proto::{
    json,
    limits::PAGE_SIZE_DEFAULT,
    run_id::RunId,
    v1::{self, Failure, ListRunsRequest, ListRunsResponse, RunView},
};
use metronome_web::report::{self as reports, Entry};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    bodies::{Made, Maker, refused, respond},
    query::parameters,
};
use crate::{
    control::{
        api::{get_server, not_ended, page_of_runs},
        shared::Shared,
        status,
    },
    store::without_records,
    wall_clock,
};

/// What the answers are made from.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) shared: Arc<Shared>,
    pub(super) maker: Maker,
}

/// `/runs?filter=…&order=newest|oldest&page_size=1..200&page_token=…`: as `benchctl runs`.
/// Where the next page is stands in the header Link.
pub(super) async fn runs(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let found = async {
        let asked = list_request(&query.unwrap_or_default())?;
        let listed = page_of_runs(&api.shared.runs, asked.clone()).await?;
        Ok((asked, listed))
    };
    let make = |(asked, listed): (ListRunsRequest, ListRunsResponse)| Made {
        next: next_page(&asked, &listed.next_page_token),
        ..Made::json(json::lists::runs(&listed.runs, &listed.unreadable_run_ids))
    };
    api.answer(&headers, found, make).await
}

fn list_request(query: &str) -> Result<ListRunsRequest, Failure> {
    let names = ["filter", "order", "page_size", "page_token"];
    let [filter, order, page_size, page_token] = parameters(query, names).map_err(|name| {
        let problem = "it is no parameter here, or comes twice, or is no text; filter, order, \
            page_size and page_token are allowed once each";
        status::out_of_range(&name, problem)
    })?;
    let page_size = match page_size {
        None => PAGE_SIZE_DEFAULT,
        Some(text) => text.parse().map_err(|_| {
            status::out_of_range("page_size", format!("{text:?} is no number; 1 to 200"))
        })?,
    };
    let order_by = match order.as_deref() {
        None | Some("newest") => "created_at desc",
        Some("oldest") => "created_at",
        Some(other) => {
            let problem = format!("{other:?} is no order; newest and oldest are");
            return Err(status::out_of_range("order", problem));
        }
    };
    Ok(ListRunsRequest {
        filter: filter.unwrap_or_default(),
        order_by: order_by.into(),
        page_size,
        page_token: page_token.unwrap_or_default(),
        view: RunView::Basic.into(),
    })
}

/// The header Link of a list that goes on.
fn next_page(asked: &ListRunsRequest, token: &str) -> Option<String> {
    if token.is_empty() {
        return None;
    }
    let coded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let order = match asked.order_by.as_str() {
        "created_at" => "oldest",
        _ => "newest",
    };
    Some(format!(
        "</api/v1/runs?filter={}&order={order}&page_size={}&page_token={}>; rel=\"next\"",
        coded(&asked.filter),
        asked.page_size,
        coded(token)
    ))
}

/// `/runs/ID`: as `benchctl show`.
pub(super) async fn run(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let make = |(_, run): (RunId, v1::Run)| Made::json(json::run::result(&run, None));
    api.answer(&headers, api.find(&id), make).await
}

/// `/runs/ID/series`: as `benchctl show --series`.
pub(super) async fn series(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let make = |(_, run, series): (RunId, v1::Run, v1::Series)| {
        Made::json(json::series::result(&run, &series))
    };
    api.answer(&headers, api.with_series(&id), make).await
}

/// `/runs/ID/clients`: as `benchctl show --clients-table`: the run with the rows of its clients,
/// null until it has ended.
pub(super) async fn clients(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = async {
        let (id, run) = api.find(&id).await?;
        let clients = match run.report {
            Some(_) => Some(api.clients_of(id).await?),
            None => None,
        };
        Ok((run, clients))
    };
    let make = |(run, clients): (v1::Run, Option<Vec<v1::ClientReport>>)| {
        Made::json(json::run::result(&run, clients.as_deref()))
    };
    api.answer(&headers, found, make).await
}

/// `/runs/ID/report.html`: as `benchctl report`.
pub(super) async fn report(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = async {
        let (id, run, series) = api.with_series(&id).await?;
        if run.report.is_none() || !run.state().is_final() {
            return Err(not_ended(id));
        }
        let clients = api.clients_of(id).await?;
        Ok(Entry {
            run,
            series,
            clients,
        })
    };
    let make = |entry: Entry| {
        let made_at = wall_clock::timestamp(wall_clock::unix_ms());
        let made_at = json::values::instant(Some(&made_at)).unwrap_or_default();
        Made {
            content_type: "text/html; charset=utf-8",
            ..Made::json(reports::html(&[entry], &made_at, env!("CARGO_PKG_VERSION")))
        }
    };
    api.answer(&headers, found, make).await
}

/// `/server`: as `benchctl server`.
pub(super) async fn server(State(api): State<Api>, headers: HeaderMap) -> Response {
    let make = |server: v1::GetServerResponse| Made::json(json::server::server(&server));
    api.answer(&headers, get_server(&api.shared), make).await
}

/// `/agents`: as `benchctl agents`: all of them.
pub(super) async fn agents(State(api): State<Api>, headers: HeaderMap) -> Response {
    let found = async { Ok(api.shared.registry.list()) };
    let make = |agents: Vec<v1::Agent>| Made::json(json::lists::agents(&agents));
    api.answer(&headers, found, make).await
}

impl Api {
    /// What is found once there is a place for the answer, made into one: or the failure.
    async fn answer<T: Send + 'static>(
        &self,
        headers: &HeaderMap,
        found: impl Future<Output = Result<T, Failure>>,
        make: impl FnOnce(T) -> Made + Send + 'static,
    ) -> Response {
        let found = async {
            let place = self.maker.place().await?;
            Ok((place, found.await?))
        };
        match found.await {
            Ok((place, found)) => respond(place, headers, move || make(found)).await,
            Err(failure) => refused(&failure),
        }
    }

    /// The run with this id, without the records of its payloads, which no object has.
    async fn find(&self, id: &str) -> Result<(RunId, v1::Run), Failure> {
        let id = status::parse_run_id(id)?;
        let run = self.shared.runs.find(id).await?;
        Ok((id, without_records(run)))
    }

    /// The same with its series, which is empty until the run has ended.
    async fn with_series(&self, id: &str) -> Result<(RunId, v1::Run, v1::Series), Failure> {
        let (id, run) = self.find(id).await?;
        let mut series = v1::Series::default();
        if run.report.is_none() {
            return Ok((id, run, series));
        }
        let history = &self.shared.runs.history;
        if let Some(unstored) = history.find_unstored(id) {
            unstored
                .series
                .iter()
                .for_each(|page| series.append(page.clone()));
            return Ok((id, run, series));
        }
        let series = history
            .read(move |store| {
                let mut pages = 0;
                while let Some(page) = store.series_page(id, pages)? {
                    series.append(page);
                    pages += 1;
                }
                Ok(series)
            })
            .await?;
        self.ensure_there(id).await?;
        Ok((id, run, series))
    }

    /// An error where the run has been deleted. One that is there has been there all the time: it
    /// goes with all its parts at once, and its id never comes back. So what was read before is all
    /// of it.
    async fn ensure_there(&self, id: RunId) -> Result<(), Failure> {
        self.shared.runs.find(id).await.map(drop)
    }

    /// The rows of the clients of a run that has ended.
    async fn clients_of(&self, id: RunId) -> Result<Vec<v1::ClientReport>, Failure> {
        let history = &self.shared.runs.history;
        if let Some(unstored) = history.find_unstored(id) {
            let rows = unstored.pages.iter().flat_map(|page| &page.clients);
            return Ok(rows.cloned().collect());
        }
        let rows = history
            .read(move |store| {
                let mut rows: Vec<v1::ClientReport> = Vec::new();
                let mut first = 0;
                while let Some(page) = store.client_page(id, first)? {
                    let Some(last) = page.clients.last().map(|row| row.client) else {
                        break;
                    };
                    rows.extend(page.clients);
                    let Some(next) = last.checked_add(1) else {
                        break;
                    };
                    first = next;
                }
                Ok(rows)
            })
            .await?;
        self.ensure_there(id).await?;
        Ok(rows)
    }
}
