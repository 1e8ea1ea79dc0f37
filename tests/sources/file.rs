//! What one source file holds: plain data, made by [`super::scan`].

/// What one file holds.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The file's own module first, then every `mod name { … }` in it.
    pub(crate) modules: Vec<Module>,
    pub(crate) definitions: Vec<Definition>,
    /// Functions outside tests.
    pub(crate) functions: Vec<Function>,
    /// First and last lines of the modules that only tests have.
    pub(super) test_modules: Vec<(usize, usize)>,
}

/// A module as its own source shows it.
#[derive(Default)]
pub(crate) struct Module {
    /// `None`: the file's own module.
    pub(crate) within: Option<usize>,
    pub(crate) name: String,
    pub(crate) is_test: bool,
    pub(crate) imports: Vec<Import>,
    /// Items that are no modules and no imports.
    pub(crate) items: Vec<String>,
    pub(crate) children: Vec<Child>,
    /// Every path that the module names, those of its imports too.
    pub(crate) references: Vec<Reference>,
    pub(crate) keywords: Vec<(Keyword, usize)>,
    /// Names of the methods that are called, with lines.
    pub(crate) methods: Vec<(String, usize)>,
    /// Code whose names no wall can see: what it is, with lines.
    pub(crate) hidden: Vec<(&'static str, usize)>,
}

/// A name that a `use` brings into the module.
pub(crate) struct Import {
    /// `None`: all names of what the path leads to.
    pub(crate) name: Option<String>,
    pub(crate) path: Vec<String>,
}

/// `mod name;`
pub(crate) struct Child {
    pub(crate) name: String,
    /// The text of `#[path = "…"]`.
    pub(crate) file: Option<String>,
    pub(crate) is_test: bool,
}

/// A path in the source. Its first part may be `::`, for one that begins with it.
pub(crate) struct Reference {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    pub(crate) is_glob: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keyword {
    Async,
    Await,
    Unsafe,
}

/// A function with its body.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// From its signature to its last brace.
    pub(crate) lines: usize,
}

/// A name of ours.
pub(crate) struct Definition {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) line: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Module,
    /// The name that a `use … as` gives, whatever it stands for.
    Import,
    /// A generic one too.
    Type,
    Variant,
    Function,
    Constant,
    Field,
    Variable,
}

impl File {
    /// Lines outside the modules that only tests have.
    pub(crate) fn production_lines(&self) -> usize {
        let tests = |(first, last): &(usize, usize)| last - first + 1;
        self.text.lines().count() - self.test_modules.iter().map(tests).sum::<usize>()
    }

    pub(crate) fn is_in_test_module(&self, line: usize) -> bool {
        self.test_modules
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&line))
    }
}
