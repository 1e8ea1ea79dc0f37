//! ListRuns: the request checked, and a page of the history with what is newer in memory.

use std::sync::Arc;

use metronome_proto::{
    filter::{BadOrder, Filter, FilterError, Order},
    limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX},
    run_id::RunId,
    v1::{Failure, ListRunsRequest, ListRunsResponse, RunView},
};

use super::page_token::{from_token, to_token};
use crate::{
    control::{runs::RunManager, status},
    store::ListQuery,
};

/// One page of runs.
pub(in crate::control) async fn list_runs(
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
    let next = page.next.map(|after| token_of(&filter, order, after));
    Ok(ListRunsResponse {
        runs: page.runs,
        next_page_token: next.unwrap_or_default(),
        unreadable_run_ids: page.unreadable.iter().map(RunId::to_string).collect(),
    })
}

fn check(request: &ListRunsRequest) -> Result<ListQuery, Failure> {
    let limit = page_size(request.page_size)?;
    let filter = parse_filter(&request.filter)?;
    let order: Order = request
        .order_by
        .parse()
        .map_err(|error: BadOrder| status::out_of_range("order_by", error.to_string()))?;
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(run_of(&filter, order, token).ok_or_else(|| {
            let problem = "it is not from the previous page of this filter and this order";
            status::out_of_range("page_token", problem)
        })?),
    };
    let view = parse_view(request.view)?;
    Ok(ListQuery {
        filter,
        order,
        after,
        limit,
        full: view == RunView::Full,
    })
}

/// How many elements a page of a list may have.
pub(super) fn page_size(asked: u32) -> Result<usize, Failure> {
    match asked {
        0 => Ok(PAGE_SIZE_DEFAULT as usize),
        size @ 1..=PAGE_SIZE_MAX => Ok(size as usize),
        size => {
            let problem = format!("{size} is out of range; 1 to {PAGE_SIZE_MAX} are allowed");
            Err(status::out_of_range("page_size", problem))
        }
    }
}

/// The list that the token of a page belongs to. Neither text has a NUL, so no two lists have the
/// same name.
fn list_name(filter: &Filter, order: Order) -> String {
    format!("runs\0{order}\0{filter}")
}

fn token_of(filter: &Filter, order: Order, after: RunId) -> String {
    to_token(&list_name(filter, order), &after.bits().to_be_bytes())
}

fn run_of(filter: &Filter, order: Order, token: &str) -> Option<RunId> {
    let place = from_token(&list_name(filter, order), token)?;
    let bits = place.try_into().ok().map(u64::from_be_bytes)?;
    Some(RunId::from_bits(bits))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_one_filter_and_one_order() {
        let ended: Filter = "state = ENDED".parse().unwrap();
        let (all, after) = (Filter::default(), RunId::from_bits(7));
        let token = token_of(&ended, Order::NewestFirst, after);
        assert!(!token.contains(&after.to_string()));
        assert_eq!(run_of(&ended, Order::NewestFirst, &token), Some(after));
        assert_eq!(run_of(&all, Order::NewestFirst, &token), None);
        assert_eq!(run_of(&ended, Order::OldestFirst, &token), None);
        let spelled: Filter = " state=\"ended\" ".parse().unwrap();
        let same = run_of(&spelled, Order::NewestFirst, &token);
        assert_eq!(same, Some(after), "the same filter in other characters");
    }
}
