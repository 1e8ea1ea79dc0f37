//! ListRuns: the request checked, and a page of the history with what is newer in memory.

use std::sync::Arc;

use metronome_proto::{
    filter::{BadOrder, Filter, FilterError, Order},
    limits::PAGE_SIZE_MAX,
    v1::{Failure, ListRunsRequest, ListRunsResponse, RunView},
};

use super::page_token::{from_token, to_token};
use crate::{
    control::{runs::RunManager, status},
    store::ListQuery,
};

const PAGE_SIZE_DEFAULT: u32 = 50;

/// One page of runs.
pub(super) async fn list_runs(
    runs: &Arc<RunManager>,
    request: ListRunsRequest,
) -> Result<ListRunsResponse, Failure> {
    let query = check(&request)?;
    let (filter, order) = (query.filter.clone(), query.order);
    let manager = Arc::clone(runs);
    let page = runs
        .history
        .read(move |store| store.runs(|id| manager.in_memory(id), &query))
        .await?;
    let next = page.next.map(|after| to_token(&filter, order, after));
    Ok(ListRunsResponse {
        runs: page.runs,
        next_page_token: next.unwrap_or_default(),
    })
}

fn check(request: &ListRunsRequest) -> Result<ListQuery, Failure> {
    let limit = match request.page_size {
        0 => PAGE_SIZE_DEFAULT,
        size @ 1..=PAGE_SIZE_MAX => size,
        size => {
            let problem = format!("{size} is out of range; 1 to {PAGE_SIZE_MAX} are allowed");
            return Err(status::out_of_range("page_size", problem));
        }
    };
    let filter = parse_filter(&request.filter)?;
    let order: Order = request
        .order_by
        .parse()
        .map_err(|error: BadOrder| status::out_of_range("order_by", error.to_string()))?;
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(from_token(&filter, order, token).ok_or_else(|| {
            let problem = "it is not from the previous page of this filter and this order";
            status::out_of_range("page_token", problem)
        })?),
    };
    let view = parse_view(request.view)?;
    Ok(ListQuery {
        filter,
        order,
        after,
        limit: limit as usize,
        full: view == RunView::Full,
    })
}

/// The filter of a request.
pub(super) fn parse_filter(text: &str) -> Result<Filter, Failure> {
    text.parse().map_err(|error: FilterError| {
        status::out_of_range("filter", error.to_string()).with("byte", error.at)
    })
}

/// The view of a request.
pub(super) fn parse_view(view: i32) -> Result<RunView, Failure> {
    RunView::try_from(view).map_err(|_| {
        let problem = format!("{view} is unknown; basic (1) and full (2) exist");
        status::bad_field(
            "",
            metronome_proto::plan::FieldError::unsupported("view", problem),
        )
    })
}
