//! The page and the JSON that it reads: what the HTTP port has for browsers and programs. It
//! changes nothing, whatever is asked.
//!
//! | file | subject |
//! |---|---|
//! | [`guard`] | who may read it, and what browsers are allowed to do with it |
//! | [`hosts`] | which names of this server a browser may have asked for: pure |
//! | [`files`] | the document and its assets |
//! | [`api`] | `/api/v1`: the objects of `benchctl … -o json` |
//! | [`bodies`] | a body that is made in turn, packed, and held for few readers at once |
//! | [`query`] | the parameters of an address: pure |
//!
//! On a loopback address the page is there. On another one any host that reaches the port could
//! read every run, so that it takes `--page`.

mod api;
mod bodies;
mod files;
mod guard;
mod hosts;
mod query;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{MethodRouter, get},
};

use self::{
    api::Api,
    bodies::{Maker, refused},
    files::Document,
    guard::Guard,
    hosts::Hosts,
};
use super::{
    api::Turns,
    monitor::{Pages, event_routes},
    shared::Shared,
};
use crate::config::Page;

/// The routes of the page of a server whose HTTP port is bound at `bound`.
pub(crate) fn routes(shared: &Arc<Shared>, page: &Page, bound: SocketAddr) -> Pages {
    let document = Document::new(page.traces.as_deref());
    let files = Router::new()
        .route("/", get(files::document).with_state(document))
        .route("/assets/{*path}", get(files::asset));
    let turns = Turns::new();
    let api = Api {
        shared: Arc::clone(shared),
        maker: Maker::new(turns.clone()),
    };
    let of_runs: [(&str, MethodRouter<Api>); 7] = [
        ("/api/v1/runs", get(api::runs)),
        ("/api/v1/runs/{id}", get(api::run)),
        ("/api/v1/runs/{id}/series", get(api::series)),
        ("/api/v1/runs/{id}/clients", get(api::clients)),
        ("/api/v1/runs/{id}/report.html", get(api::report)),
        ("/api/v1/server", get(api::server)),
        ("/api/v1/agents", get(api::agents)),
    ];
    let api = of_runs
        .into_iter()
        .fold(Router::new(), |router, (path, answer)| {
            router.route(path, answer)
        })
        .with_state(api);
    let guard = Arc::new(Guard {
        is_shown: page.is_shown,
        hosts: Hosts::new(bound, &page.name),
    });
    let guarded =
        |routes: Router| routes.route_layer(from_fn_with_state(Arc::clone(&guard), guard::check));
    Pages {
        answers: guarded(files.merge(api)),
        streams: guarded(begin_in_turn(event_routes(&shared.runs), turns)),
    }
}

/// Streams that begin as other answers are made, since the one of a run that has ended begins with
/// all of it.
fn begin_in_turn(streams: Router, turns: Turns) -> Router {
    let begin = async |State(turns): State<Turns>, request: Request, next: Next| -> Response {
        match turns.take().await {
            Ok(_turn) => next.run(request).await,
            Err(failure) => refused(&failure),
        }
    };
    streams.route_layer(from_fn_with_state(turns, begin))
}
