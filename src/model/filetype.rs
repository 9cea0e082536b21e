//! What a file's name says of its content: media type and language, by extension or well-known name.
//!
//! Pure and only by name: contents are never looked at, so the answer costs nothing and never
//! changes for a path. Names that say nothing have no type.

use super::path::RepoPath;
use super::stamp::FileType;

/// A type of file: cheap to copy, compare and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamedType(u16);

impl NamedType {
    /// What it stands for in bodies.
    pub fn to_file_type(self) -> FileType {
        let (_, content_type, language) = TYPES[usize::from(self.0)];
        FileType {
            content_type: content_type.to_owned(),
            language: (!language.is_empty()).then(|| language.to_owned()),
        }
    }
}

/// The type that the name of `path` tells.
pub fn of(path: &RepoPath) -> Option<NamedType> {
    let name = path.name();
    if let Some((_, extension)) = NAMES.iter().find(|(known, _)| known.as_bytes() == name) {
        return by_extension(extension.as_bytes());
    }
    let dot = name.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > 0)?;
    by_extension(&name[dot + 1..])
}

fn by_extension(extension: &[u8]) -> Option<NamedType> {
    let mut lower = [0; EXTENSION_MAX];
    let lower = lower.get_mut(..extension.len())?;
    lower.copy_from_slice(extension);
    lower.make_ascii_lowercase();
    let index = TYPES.binary_search_by(|(known, ..)| known.as_bytes().cmp(lower)).ok()?;
    u16::try_from(index).ok().map(NamedType)
}

/// No extension in the table is longer.
const EXTENSION_MAX: usize = 12;

/// Names without an extension that say what they hold, as the extension they could have had.
const NAMES: [(&str, &str); 10] = [
    ("BUILD", "bzl"),
    ("CMakeLists.txt", "cmake"),
    ("Cargo.lock", "toml"),
    ("Dockerfile", "dockerfile"),
    ("Gemfile", "rb"),
    ("GNUmakefile", "mk"),
    ("Makefile", "mk"),
    ("Rakefile", "rb"),
    ("go.mod", "gomod"),
    ("makefile", "mk"),
];

/// Extension, media type, language; sorted by extension. The media types are those of the IANA
/// registry and of shared-mime-info; a language that has none there is `text/x-` and its name.
const TYPES: [(&str, &str, &str); 147] = [
    ("7z", "application/x-7z-compressed", ""),
    ("aac", "audio/aac", ""),
    ("adb", "text/x-ada", "ada"),
    ("adoc", "text/asciidoc", "asciidoc"),
    ("ads", "text/x-ada", "ada"),
    ("asm", "text/x-asm", "assembly"),
    ("avif", "image/avif", ""),
    ("awk", "text/x-awk", "awk"),
    ("bash", "application/x-sh", "shell"),
    ("bat", "application/x-bat", "batch"),
    ("bmp", "image/bmp", ""),
    ("bz2", "application/x-bzip2", ""),
    ("bzl", "text/x-starlark", "starlark"),
    ("c", "text/x-c", "c"),
    ("cc", "text/x-c++", "c++"),
    ("cfg", "text/plain", ""),
    ("cjs", "text/javascript", "javascript"),
    ("class", "application/java-vm", ""),
    ("clj", "text/x-clojure", "clojure"),
    ("cljs", "text/x-clojure", "clojure"),
    ("cmake", "text/x-cmake", "cmake"),
    ("conf", "text/plain", ""),
    ("cpp", "text/x-c++", "c++"),
    ("cs", "text/x-csharp", "c#"),
    ("css", "text/css", "css"),
    ("csv", "text/csv", ""),
    ("cts", "text/x-typescript", "typescript"),
    ("cu", "text/x-cuda", "cuda"),
    ("cxx", "text/x-c++", "c++"),
    ("d", "text/x-d", "d"),
    ("dart", "text/x-dart", "dart"),
    ("diff", "text/x-diff", "diff"),
    ("dockerfile", "text/x-dockerfile", "dockerfile"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", ""),
    ("el", "text/x-elisp", "elisp"),
    ("elm", "text/x-elm", "elm"),
    ("eot", "application/vnd.ms-fontobject", ""),
    ("erl", "text/x-erlang", "erlang"),
    ("ex", "text/x-elixir", "elixir"),
    ("exs", "text/x-elixir", "elixir"),
    ("f90", "text/x-fortran", "fortran"),
    ("fish", "application/x-fish", "fish"),
    ("flac", "audio/flac", ""),
    ("fs", "text/x-fsharp", "f#"),
    ("gif", "image/gif", ""),
    ("go", "text/x-go", "go"),
    ("gomod", "text/x-go-mod", ""),
    ("gradle", "text/x-groovy", "groovy"),
    ("graphql", "application/graphql", "graphql"),
    ("groovy", "text/x-groovy", "groovy"),
    ("gz", "application/gzip", ""),
    ("h", "text/x-c", "c"),
    ("hcl", "text/x-hcl", "hcl"),
    ("hh", "text/x-c++", "c++"),
    ("hpp", "text/x-c++", "c++"),
    ("hs", "text/x-haskell", "haskell"),
    ("htm", "text/html", "html"),
    ("html", "text/html", "html"),
    ("ico", "image/vnd.microsoft.icon", ""),
    ("ini", "text/plain", "ini"),
    ("ipynb", "application/x-ipynb+json", ""),
    ("jar", "application/java-archive", ""),
    ("java", "text/x-java", "java"),
    ("jl", "text/x-julia", "julia"),
    ("jpeg", "image/jpeg", ""),
    ("jpg", "image/jpeg", ""),
    ("js", "text/javascript", "javascript"),
    ("json", "application/json", "json"),
    ("jsonl", "application/jsonl", "json"),
    ("jsx", "text/jsx", "javascript"),
    ("kt", "text/x-kotlin", "kotlin"),
    ("kts", "text/x-kotlin", "kotlin"),
    ("less", "text/x-less", "less"),
    ("lisp", "text/x-lisp", "lisp"),
    ("log", "text/plain", ""),
    ("lua", "text/x-lua", "lua"),
    ("m", "text/x-objective-c", "objective-c"),
    ("md", "text/markdown", "markdown"),
    ("mdx", "text/mdx", "markdown"),
    ("mjs", "text/javascript", "javascript"),
    ("mk", "text/x-makefile", "makefile"),
    ("ml", "text/x-ocaml", "ocaml"),
    ("mli", "text/x-ocaml", "ocaml"),
    ("mm", "text/x-objective-c++", "objective-c++"),
    ("mp3", "audio/mpeg", ""),
    ("mp4", "video/mp4", ""),
    ("mts", "text/x-typescript", "typescript"),
    ("nim", "text/x-nim", "nim"),
    ("nix", "text/x-nix", "nix"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet", ""),
    ("odt", "application/vnd.oasis.opendocument.text", ""),
    ("ogg", "audio/ogg", ""),
    ("otf", "font/otf", ""),
    ("parquet", "application/vnd.apache.parquet", ""),
    ("patch", "text/x-diff", "diff"),
    ("pdf", "application/pdf", ""),
    ("php", "application/x-httpd-php", "php"),
    ("pl", "text/x-perl", "perl"),
    ("pm", "text/x-perl", "perl"),
    ("png", "image/png", ""),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", ""),
    ("properties", "text/x-java-properties", ""),
    ("proto", "text/x-protobuf", "protobuf"),
    ("ps1", "text/x-powershell", "powershell"),
    ("py", "text/x-python", "python"),
    ("pyi", "text/x-python", "python"),
    ("r", "text/x-r", "r"),
    ("rb", "text/x-ruby", "ruby"),
    ("rs", "text/x-rust", "rust"),
    ("rst", "text/x-rst", "restructuredtext"),
    ("s", "text/x-asm", "assembly"),
    ("scala", "text/x-scala", "scala"),
    ("scss", "text/x-scss", "scss"),
    ("sh", "application/x-sh", "shell"),
    ("sql", "application/sql", "sql"),
    ("sqlite", "application/vnd.sqlite3", ""),
    ("svelte", "text/x-svelte", "svelte"),
    ("svg", "image/svg+xml", ""),
    ("swift", "text/x-swift", "swift"),
    ("tar", "application/x-tar", ""),
    ("tex", "application/x-tex", "tex"),
    ("tf", "text/x-hcl", "hcl"),
    ("tgz", "application/gzip", ""),
    ("tiff", "image/tiff", ""),
    ("toml", "application/toml", "toml"),
    ("ts", "text/x-typescript", "typescript"),
    ("tsv", "text/tab-separated-values", ""),
    ("tsx", "text/x-typescript", "typescript"),
    ("ttf", "font/ttf", ""),
    ("txt", "text/plain", ""),
    ("vim", "text/x-vim", "vim"),
    ("vue", "text/x-vue", "vue"),
    ("wasm", "application/wasm", ""),
    ("wav", "audio/wav", ""),
    ("webm", "video/webm", ""),
    ("webp", "image/webp", ""),
    ("woff", "font/woff", ""),
    ("woff2", "font/woff2", ""),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ""),
    ("xml", "application/xml", "xml"),
    ("xz", "application/x-xz", ""),
    ("yaml", "application/yaml", "yaml"),
    ("yml", "application/yaml", "yaml"),
    ("zig", "text/x-zig", "zig"),
    ("zip", "application/zip", ""),
    ("zsh", "application/x-sh", "shell"),
    ("zst", "application/zstd", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(path: &str) -> Option<(String, Option<String>)> {
        let path = RepoPath::new(path.as_bytes()).expect("well-formed");
        of(&path).map(NamedType::to_file_type).map(|file| (file.content_type, file.language))
    }

    #[test]
    fn extensions_are_sorted_and_names_lead_to_one() {
        assert!(TYPES.is_sorted_by(|one, next| one.0 < next.0));
        assert!(TYPES.iter().all(|(extension, ..)| extension.len() <= EXTENSION_MAX));
        for (name, extension) in NAMES {
            assert!(by_extension(extension.as_bytes()).is_some(), "{name}");
        }
    }

    #[test]
    fn a_name_tells_type_and_language() {
        let rust = Some(("text/x-rust".to_owned(), Some("rust".to_owned())));
        assert_eq!(type_of("src/main.rs"), rust);
        assert_eq!(type_of("src/MAIN.RS"), rust);
        assert_eq!(type_of("a/archive.tar.gz"), Some(("application/gzip".to_owned(), None)));
        let make = Some(("text/x-makefile".to_owned(), Some("makefile".to_owned())));
        assert_eq!(type_of("Makefile"), make);
    }

    #[test]
    fn a_name_that_says_nothing_has_no_type() {
        for path in ["", "README", ".rs", "a.", "a.an-extension-nobody-knows", "rs/x", "a.\u{e9}"] {
            assert_eq!(type_of(path), None, "{path}");
        }
    }
}
