/** postgresql.conf and pg_hba.conf of a lab's clusters: what the product needs, in little memory. */
export type SettingValue = string | number | boolean;

/** @param major of PostgreSQL: what it does not know it would not start with. */
export function clusterSettings(durable: boolean, major: number): Readonly<Record<string, SettingValue>> {
  return {
    // What replication and the fence need.
    wal_level: 'logical',
    track_commit_timestamp: true,
    max_prepared_transactions: 0,
    max_wal_senders: 24,
    max_replication_slots: 24,
    // Until 18 one setting limited slots and origins.
    ...(major >= 18 ? { max_active_replication_origins: 24, io_method: 'sync' } : {}),
    max_logical_replication_workers: 20,
    max_sync_workers_per_subscription: 2,
    max_worker_processes: 32,
    wal_receiver_status_interval: '1s',
    // A link that was cut and healed is noticed soon, at the price of a packet now and then.
    wal_retrieve_retry_interval: '500ms',
    wal_receiver_timeout: '10s',
    wal_sender_timeout: '10s',
    // Nobody waits for another data center unless the data say so.
    synchronous_commit: 'local',
    // Many clusters on one machine.
    max_connections: 200,
    shared_buffers: '32MB',
    min_wal_size: '32MB',
    max_wal_size: '512MB',
    huge_pages: 'off',
    jit: false,
    // Addresses and files.
    unix_socket_directories: '',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] %q%u@%d ',
    log_min_messages: 'warning',
    password_encryption: 'scram-sha-256',
    ...(durable ? {} : { fsync: false, full_page_writes: false }),
  };
}

export const hostBasedAuthentication = `# Loopback only, and always with a password.
host all all 127.0.0.0/8 scram-sha-256
host all all ::1/128 scram-sha-256
host replication all 127.0.0.0/8 scram-sha-256
`;
