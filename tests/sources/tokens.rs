//! Paths and keywords among the tokens of a macro or an attribute, which have no syntax tree.
//!
//! Every sequence of names joined by `::` is taken for a path: coarse, but nothing that a macro
//! spells out escapes the walls. Names behind a dot are methods or fields.

use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};
use syn::{Lit, ext::IdentExt as _};

use super::{file::Keyword, scan::Scan};

/// Goes through `stream`. `with_texts`: texts in it are paths where they can be, as serde has them.
pub(crate) fn scan(to: &mut Scan, stream: TokenStream, with_texts: bool) {
    let tokens = Vec::from_iter(stream);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) => scan(to, group.stream(), with_texts),
            TokenTree::Literal(literal) if with_texts => {
                if let Lit::Str(text) = Lit::new(literal.clone())
                    && let Ok(path) = text.parse::<syn::Path>()
                {
                    let names = path
                        .segments
                        .iter()
                        .map(|part| part.ident.unraw().to_string());
                    to.refer(names.collect(), literal.span().start().line);
                }
            }
            TokenTree::Ident(ident) => at = name(to, &tokens, at - 1, ident),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Notes what begins with the name at `at`, and gives the place behind it.
fn name(to: &mut Scan, tokens: &[TokenTree], at: usize, ident: &Ident) -> usize {
    let line = ident.span().start().line;
    let behind = |back: usize| at.checked_sub(back).map(|at| &tokens[at]);
    let keyword = match ident.to_string().as_str() {
        "async" => Some(Keyword::Async),
        "await" => Some(Keyword::Await),
        "unsafe" => Some(Keyword::Unsafe),
        _ => None,
    };
    if let Some(keyword) = keyword {
        to.keyword(keyword, ident.span());
        return at + 1;
    }
    if ident == "extern" && is_name(tokens.get(at + 1), "crate") {
        to.hide("`extern crate`", line);
        return at + 2;
    }
    let is_range = is(behind(2), '.');
    if is(behind(1), '.') && !is_range {
        if is_call(&tokens[at + 1..]) {
            to.method(ident.unraw().to_string(), line);
        }
        return at + 1;
    }
    let is_variable = is(behind(1), '$') && ident != "crate";
    let goes_on = joins(tokens, at + 1) || at >= 3 && joins(tokens, at - 3);
    if is_variable && goes_on {
        to.hide("a path with a macro's variable", line);
    }
    if is(behind(1), '\'') || is_variable {
        return at + 1;
    }
    let mut path = Vec::new();
    if at >= 2 && joins(tokens, at - 2) {
        if is(behind(3), '>') {
            return at + 1;
        }
        path.push("::".to_owned());
    }
    path.push(ident.unraw().to_string());
    let mut end = at + 1;
    while joins(tokens, end)
        && let Some(TokenTree::Ident(next)) = tokens.get(end + 2)
    {
        path.push(next.unraw().to_string());
        end += 3;
    }
    if path.last().is_some_and(|last| last == "include") && is(tokens.get(end), '!') {
        to.hide("`include!`", line);
    }
    if joins(tokens, end) {
        let is_group = |at: usize| matches!(tokens.get(at), Some(TokenTree::Group(_)));
        if is(tokens.get(end + 2), '$') && is_group(end + 3) {
            to.hide("a path with a macro's variables", line);
        } else if is_group(end + 2) {
            to.hide("a group of imports in a macro", line);
        }
    }
    to.refer(path, line);
    end
}

fn is_name(token: Option<&TokenTree>, name: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == name)
}

fn is(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

/// Whether `::` stands at `at`.
fn joins(tokens: &[TokenTree], at: usize) -> bool {
    let is_joint = matches!(tokens.get(at), Some(TokenTree::Punct(first))
        if first.as_char() == ':' && first.spacing() == Spacing::Joint);
    is_joint && is(tokens.get(at + 1), ':')
}

/// Whether the arguments of a method follow, with or without its types.
fn is_call(tokens: &[TokenTree]) -> bool {
    let is_group = matches!(tokens.first(), Some(TokenTree::Group(group))
        if group.delimiter() == Delimiter::Parenthesis);
    is_group || joins(tokens, 0)
}
