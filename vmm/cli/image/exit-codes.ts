/** Exit codes of `tsvm image`: those of qemu-img. */
export const EXIT_DONE = 0;
/** The operation failed, or the command line is invalid. */
export const EXIT_FAILED = 1;

/** `check`: corruption was found. */
export const EXIT_CHECK_CORRUPT = 2;
/** `check`: only lost space was found. */
export const EXIT_CHECK_LEAKS = 3;
/** `check`: the format has nothing to check. */
export const EXIT_CHECK_UNSUPPORTED = 63;

/** `compare`: the images differ. */
export const EXIT_COMPARE_DIFFERENT = 1;
/** `compare`: an image cannot be opened, or the command line is invalid. */
export const EXIT_COMPARE_NOT_OPENED = 2;
/** `compare`: an image's tables cannot be read. */
export const EXIT_COMPARE_NOT_MAPPED = 3;
/** `compare`: an image's content cannot be read. */
export const EXIT_COMPARE_NOT_READ = 4;
