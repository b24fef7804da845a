//! Every cap of the program, each with its reason. A limit that is hit is an error that names the limit.

/// Largest file the pipeline opens: etcd refuses objects above about 1.5 MiB, and base64 plus SOPS metadata blow a
/// legal Secret up to about three times its size. Flux caps encrypted files at 5 MiB too.
pub const FILE_BYTES: usize = 5 * 1024 * 1024;

/// Deepest nesting of a parsed document. Real manifests stay below 30; recursion is bounded before any consumer runs.
pub const NESTING_DEPTH: usize = 100;

/// Most documents in one multi-document file.
pub const DOCUMENTS_PER_FILE: usize = 10_000;

/// Most files read from one repository path. Large monorepos have tens of thousands; a runaway tree must end.
pub const FILES_PER_TREE: usize = 100_000;

/// Most bytes kept from one repository path in one pass, ciphertext included.
pub const TREE_BYTES: usize = 512 * 1024 * 1024;

/// Most wrapped keys (recipients) tried in one SOPS file.
pub const RECIPIENTS_PER_FILE: usize = 1_000;

/// Longest OpenPGP message of one wrapped key: one to an RSA key of 4096 bits takes 900 bytes, and each recipient that a
/// message names may cost a private-key operation.
pub const PGP_MESSAGE_BYTES: usize = 16 * 1024;

/// Most work that the passphrase of an identity file may cost, as an exponent of two: what age's own program takes. 22 is
/// 4 GiB of memory and half a minute; files are made with 18.
pub const SCRYPT_WORK_FACTOR: u8 = 22;

/// Largest sum of values of one Secret; the API server's own limit (`MaxSecretSize`).
pub const SECRET_BYTES: usize = 1024 * 1024;

/// Longest entry name of a Secret; the API server's own limit.
pub const ENTRY_NAME_BYTES: usize = 253;

/// Longest message put into a condition: the API schema of `metav1.Condition` allows 32 KiB, people read one line.
pub const CONDITION_MESSAGE_BYTES: usize = 1024;

/// Most per-file results kept in the status of one EncryptedSource, so that the object stays far below etcd's limit.
pub const STATUS_FILES: usize = 500;

/// Most Secrets named in the inventory of one EncryptedSource, at up to 400 bytes each below etcd's limit. What is not
/// named is still known by its label.
pub const STATUS_INVENTORY: usize = 2_000;

/// Secrets of one EncryptedSource written at a time: a commit with a thousand of them is in force within seconds, and
/// the API server's fair share of this client is left for the other kinds.
pub const SOURCE_WRITES: usize = 8;

/// Largest body taken from an external store for one key. Vault's default request limit is 32 MiB, but nothing larger
/// than a Secret can be used.
pub const STORE_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Most names that one search of a store (`dataFrom.find`) looks at: what it finds becomes the entries of one Secret.
pub const FIND_NAMES: usize = 10_000;

/// Most folders that one search of a store lists, one request each.
pub const FIND_FOLDERS: usize = 1_000;

/// Most bytes of all values that one search of a store finds: four times what a Secret can hold, for encodings and rewrites
/// on the way.
pub const FIND_BYTES: usize = 4 * 1024 * 1024;

/// Requests of one search under way at a time.
pub const FIND_REQUESTS: usize = 8;

/// Largest body read from an HTTP request to the operator: one SealedSecret is below etcd's object limit.
pub const HTTP_BODY_BYTES: usize = 2 * 1024 * 1024;

/// Most open connections of one HTTP listener, at some 10 KiB each. Probes, scrapes and the API server's proxy need few.
pub const HTTP_CONNECTIONS: usize = 1024;

/// Requests to the endpoints that open values whose bodies are held at a time: with [`HTTP_BODY_BYTES`] each, 32 MiB.
pub const HTTP_ADMITTED: usize = 16;

/// Private-key operations spent on one request over HTTP, about four seconds: each entry of the largest object that etcd
/// takes once, and every key of a long-lived cluster for one of them.
pub const HTTP_KEY_OPERATIONS: usize = 2_500;

/// Most sealed values whose key is remembered: 32 bytes of digest and a shared fingerprint each, so about 20 MiB, for
/// clusters of 100,000 entries.
pub const SEALED_HINTS: usize = 200_000;

/// Most trials of a key on a value that are remembered, at about 20 bytes each: some thousand values that no key opens.
pub const SEALED_TRIALS: usize = 250_000;

/// Most namespaces whose usual sealing key is remembered, at about 100 bytes each.
pub const SEALED_HABITS: usize = 10_000;

/// Keys tried in vain on one object before others get their turn: the likeliest ones, at about 2 ms each.
pub const SEALED_MISSES_PER_TURN: usize = 4;

/// Largest `.latchwork/recipients`: a hundred certificates.
pub const PIN_BYTES: u64 = 256 * 1024;

/// Most keys that the mark of one SealedSecret names, at about 50 bytes each: values of one object rarely have more than two.
pub const SEALED_MARK_KEYS: usize = 16;

/// Entries of one SealedSecret whose failure is explained; the rest of an object usually fails for the same reason.
pub const SEALED_DIAGNOSES: usize = 16;

/// Most entries that a message about one SealedSecret names for one cause; the rest is counted.
pub const SEALED_NAMED: usize = 16;

/// Longest message in the conditions of a SealedSecret: it names entries and their causes one by one.
pub const SEALED_MESSAGE_BYTES: usize = 4096;

/// Private-key operations spent on explaining one entry: at about 2 ms each a tenth of a second.
pub const SEALED_DIAGNOSIS_ATTEMPTS: usize = 64;

/// Most callers whose request rate is remembered, at about 100 bytes each.
pub const RATE_LIMITED_CALLERS: usize = 10_000;

/// Most bytes taken from a Git server in one fetch of one commit, and most memory for one of its objects: the tree's
/// own cap. A GitOps repository of this size belongs split.
pub const GIT_BYTES: u64 = 512 * 1024 * 1024;

/// Most ciphertext kept in memory per EncryptedSource, to mend its Secrets without a fetch. A source above it is fetched
/// again instead.
pub const SOURCE_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Fetches of repositories under way at a time: each may take [`GIT_BYTES`] of temporary disk.
pub const GIT_FETCHES: usize = 4;

/// Fetches under way for one namespace: a tenant's slow Git servers leave the others their turn.
pub const GIT_FETCHES_PER_NAMESPACE: usize = 2;

/// Most entries of Git trees looked at in one pass. Trees share subtrees, so a few kilobytes can stand for more files
/// than there is memory.
pub const TREE_ENTRIES: usize = 1_000_000;

/// Largest template text. A Secret holds 1 MiB; a template that is larger than what it may produce is a mistake.
pub const TEMPLATE_BYTES: usize = 1024 * 1024;

/// Deepest nesting of control structures and parentheses in a template. The parser recurses; real templates nest below 10.
pub const TEMPLATE_NESTING: usize = 64;

/// Deepest evaluation: calls of templates and nesting together. Each level costs up to about 4 KiB of an unoptimised
/// build's stack, and threads have 2 MiB.
pub const TEMPLATE_DEPTH: usize = 250;

/// Most steps (nodes, pipelines, loop rounds) of one render: about a tenth of a second.
pub const TEMPLATE_STEPS: usize = 1_000_000;

/// Largest single value inside a render: four times what a Secret can hold, for base64 and indentation on the way.
pub const TEMPLATE_VALUE_BYTES: usize = 4 * 1024 * 1024;

/// Most bytes of all values made in one render, whether still alive or not. Bounds time and memory of doublings.
pub const TEMPLATE_TOTAL_BYTES: usize = 64 * 1024 * 1024;

/// Largest output of one render; the Secret's own limit is checked later, on decoded data.
pub const TEMPLATE_OUTPUT_BYTES: usize = 4 * 1024 * 1024;

/// Most estimated milliseconds in costly functions (bcrypt, scrypt, key generation) of one render.
pub const TEMPLATE_COST: usize = 5_000;

/// Most memory for templates kept parsed, as estimated from their texts: some ten thousand of the usual length.
pub const TEMPLATE_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Longest regular expression, version constraint or similar pattern; compiling costs far more than reading.
pub const TEMPLATE_PATTERN_BYTES: usize = 16 * 1024;

/// Most values in one file, aliases expanded. A file of [`FILE_BYTES`] cannot hold more without aliases; with them, nine
/// lines can ask for billions.
pub const VALUES_PER_FILE: usize = 1_000_000;

/// Calls to key services under way at a time, in one run. Cloud providers allow thousands a second, and a laptop's
/// sockets are the tighter limit.
pub const KEY_SERVICE_CALLS: usize = 64;

/// Longest wait for one answer of a key service, in seconds. A person may have to confirm it, or a server to be woken.
pub const KEY_SERVICE_SECONDS: u64 = 30;

/// Most data keys kept of what key services answered, at about 150 bytes each.
pub const DATA_KEYS_KEPT: usize = 20_000;

/// Files that are opened or changed at a time when a command is given many. Most of the time is waiting for a key
/// service; memory is bounded by [`FILE_BYTES`] for each.
pub const FILES_AT_A_TIME: usize = 32;
/// Most sealing keys in the status of a KeyRing: eight years of monthly renewal, at about 500 bytes each.
pub const STATUS_KEYS: usize = 100;

/// Largest backup of sealing keys that is read: some thousand keys of 8192 bits.
pub const BACKUP_BYTES: usize = 16 * 1024 * 1024;
/// Largest answer of a key service: a data key or a share of one, encrypted or not, is below 2 KiB in every kind.
pub const KEY_SERVICE_BODY_BYTES: usize = 64 * 1024;

/// Requests that a key service of ours works on at a time for one connection: each may hold a call to a cloud.
pub const KEY_SERVICE_SERVED: usize = 32;

/// Runs of `gpg` at a time. Its agent keeps keys in 64 KiB of locked memory, and more than a few RSA operations at once
/// end with "Cannot allocate memory".
pub const GPG_AT_A_TIME: usize = 4;

/// Most bytes taken from each output of `gpg`: a wrapped key for a key of 16,384 bits is 4 KiB.
pub const GPG_OUTPUT_BYTES: usize = 64 * 1024;
