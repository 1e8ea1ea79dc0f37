//! ListAgents: a page of the agents that are connected. Pure.

use metronome_proto::{
    limits::PAGE_BYTES_MAX,
    v1::{Agent, Failure, ListAgentsRequest, ListAgentsResponse},
};
use prost::Message as _;

use super::{
    list_runs::page_size,
    page_token::{from_token, to_token},
};
use crate::control::status;

/// The list that the tokens of its pages belong to.
const LIST: &str = "agents";

/// One page of `agents`, which are in the order of their names.
pub(super) fn list_agents(
    agents: Vec<Agent>,
    request: &ListAgentsRequest,
) -> Result<ListAgentsResponse, Failure> {
    let limit = page_size(request.page_size)?;
    let after = after(&request.page_token)?;
    let mut page = ListAgentsResponse::default();
    let mut bytes = 0;
    let behind = |agent: &Agent| after.as_ref().is_none_or(|after| agent.name > *after);
    for agent in agents.into_iter().filter(behind) {
        bytes += agent.encoded_len();
        // One always goes: a single agent is far smaller than a message.
        let has_room = page.agents.len() < limit && bytes <= PAGE_BYTES_MAX;
        if let Some(last) = page.agents.last().filter(|_| !has_room) {
            page.next_page_token = to_token(LIST, last.name.as_bytes());
            return Ok(page);
        }
        page.agents.push(agent);
    }
    Ok(page)
}

/// Behind which agent the page begins.
fn after(token: &str) -> Result<Option<String>, Failure> {
    if token.is_empty() {
        return Ok(None);
    }
    let name = from_token(LIST, token).and_then(|name| String::from_utf8(name).ok());
    let problem = "it is not from the previous page";
    name.map(Some)
        .ok_or_else(|| status::out_of_range("page_token", problem))
}

#[cfg(test)]
mod tests {
    use metronome_proto::{MESSAGE_BYTES_MAX, v1::FailureCode};

    use super::*;

    fn agents(names: &[&str], version: &str) -> Vec<Agent> {
        let agent = |name: &&str| Agent {
            name: (*name).into(),
            version: version.into(),
            ..Agent::default()
        };
        names.iter().map(agent).collect()
    }

    fn request(page_size: u32, page_token: &str) -> ListAgentsRequest {
        ListAgentsRequest {
            page_size,
            page_token: page_token.into(),
        }
    }

    /// The names on each page.
    fn pages(agents: &[Agent], page_size: u32) -> Vec<Vec<String>> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let page = list_agents(agents.to_vec(), &request(page_size, &token)).unwrap();
            assert!(page.encoded_len() < MESSAGE_BYTES_MAX);
            pages.push(page.agents.into_iter().map(|agent| agent.name).collect());
            token = page.next_page_token;
            if token.is_empty() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_are_in_order_leave_none_out_and_fit_a_message() {
        let five = agents(&["a", "b", "c", "d", "e"], "1");
        assert_eq!(pages(&five, 2), [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
        assert_eq!(pages(&five, 5).len(), 1);
        assert_eq!(pages(&five, 0).concat().len(), 5);
        assert_eq!(pages(&[], 0), [vec![""; 0]]);
        let large = agents(&["a", "b", "c"], &"x".repeat(400_000));
        assert_eq!(pages(&large, 0), [["a"], ["b"], ["c"]]);
    }

    #[test]
    fn an_agent_that_comes_or_leaves_between_pages_shifts_none_of_the_others() {
        let first = list_agents(agents(&["a", "b", "c"], "1"), &request(2, "")).unwrap();
        let behind = agents(&["a", "aa", "c", "d"], "1");
        let second = list_agents(behind, &request(2, &first.next_page_token)).unwrap();
        let names = second.agents.iter().map(|agent| agent.name.as_str());
        assert!(names.eq(["c", "d"]));
    }

    #[test]
    fn what_is_no_page_is_refused_by_the_name_of_its_field() {
        for (request, field) in [
            (request(201, ""), "page_size"),
            (request(1, "x"), "page_token"),
            (request(1, &to_token("runs", b"a")), "page_token"),
        ] {
            let failure = list_agents(Vec::new(), &request).unwrap_err();
            assert_eq!(failure.code(), FailureCode::FieldOutOfRange);
            assert_eq!(failure.figures["field"], field.into());
        }
    }
}
