//! What a kernel was configured with, as far as images may need it. Law: pure.

/// Options of which a kernel's record keeps those that it has: what not every kernel has that boots at all.
pub const RECORDED: [&str; 2] = ["CONFIG_EROFS_FS_ZIP", "CONFIG_EROFS_FS_ZIP_ZSTD"];

/// Those that `config`, the text of a kernel's `.config`, has on.
pub(super) fn of(config: &str) -> Vec<String> {
    let is_on = |option: &&str| {
        config.lines().any(|line| line.strip_prefix(*option).is_some_and(|value| matches!(value, "=y" | "=m")))
    };
    RECORDED.into_iter().filter(is_on).map(str::to_owned).collect()
}

/// Of a kernel whose record does not say, or that came without its configuration: what all of ours had before it was recorded.
pub(super) fn assumed() -> Vec<String> {
    vec![RECORDED[0].to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_on_built_in_or_as_a_module_and_nothing_else_is() {
        assert_eq!(of("CONFIG_A=y\nCONFIG_EROFS_FS_ZIP=y\n# CONFIG_EROFS_FS_ZIP_ZSTD is not set\n"), [RECORDED[0]]);
        assert_eq!(of("CONFIG_EROFS_FS_ZIP_ZSTD=m"), [RECORDED[1]]);
        assert!(of("CONFIG_EROFS_FS=y\nCONFIG_EROFS_FS_ZIP=n\nCONFIG_EROFS_FS_ZIP_LZMA=y\n").is_empty());
    }
}
