# SPDX-License-Identifier: Apache-2.0
"""Keys of Synapse that Trellis knows and does not read, by what is said when one is found.

A nested key stands with its whole path, without the indices of lists. `docs/configuration.md` names each of
them.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())


# Accepted in silence: what they steer does not exist in Trellis, or needs no steering.
IGNORED = words(
    """
    background_updates bcrypt_rounds cleanup_extremities_with_dummy_events daemonize
    dummy_events_threshold event_cache_size form_secret form_secret_path gc_min_interval
    gc_thresholds gzip_responses instance_map macaroon_secret_key macaroon_secret_key_path
    media_instance_running_background_jobs no_redirect_stdio no_tls print_pidfile
    replication_torture_level report_stats report_stats_endpoint run_background_tasks_on server_context
    stream_writers suppress_key_server_warning task_scheduler use_frozen_dicts worker_app worker_daemonize
    worker_listeners worker_log_config worker_main_http_uri worker_manhole worker_name worker_pid_file
    worker_replication_host worker_replication_http_port worker_replication_http_tls
    worker_replication_secret worker_replication_secret_path caches.cache_autotuning
    caches.cache_entry_ttl caches.expire_caches caches.per_cache_factors
    caches.sync_response_cache_duration database.allow_unsafe_locale database.statement_timeout
    database.txn_limit database.args.check_same_thread database.args.cp_good_sql database.args.cp_min
    database.args.cp_name database.args.cp_noisy database.args.cp_openfun database.args.cp_reconnect
    listeners.resources.compress listeners.tag redis.dbid
    """
)

# Features that are still to come; leaving them out makes the server do less.
NOT_YET = words(
    """
    account_threepid_delegates allow_per_room_profiles app_service_config_files auto_accept_invites
    auto_join_mxid_localpart autocreate_auto_join_room_preset autocreate_auto_join_rooms_federated
    backup_media_store_path cas_config custom_template_directory default_identity_server
    default_power_level_content_override disable_msisdn_registration dont_notify_new_devices_for email
    enable_3pid_lookup enable_ephemeral_messages enable_local_media_storage enable_search
    encryption_enabled_by_default_for_room_type exclude_rooms_from_presence experimental_features
    extra_well_known_client_content federation federation_metrics_domains
    federation_whitelist_endpoint_enabled filter_timeline_limit http_proxy https_proxy
    include_profile_updates_in_sync invite_3pid_guest jwt_config key_server_signing_keys_path ldap_config
    login_via_existing_session log_file manhole manhole_settings matrix_authentication_service matrix_rtc
    max_event_delay_duration max_spider_size media_retention media_storage_providers metrics_bind_host
    metrics_flags metrics_port next_link_domain_whitelist no_proxy_hosts oembed oidc_config oidc_providers
    opentracing outbound_federation_restricted_to push push_rules redaction_allowed_period
    room_invite_state_types room_prejoin_state saml2_config sentry sso stats
    synchronous_backup_media_store templates track_appservice_user_ips track_puppeted_user_ips
    trust_identity_server_for_password_resets turn_allow_guests turn_password turn_shared_secret
    turn_shared_secret_path turn_uris turn_user_lifetime turn_username ui_auth url_preview_accept_language
    url_preview_enabled url_preview_ip_range_blacklist url_preview_ip_range_whitelist
    url_preview_url_blacklist use_appservice_legacy_authorization user_agent_suffix user_directory
    user_types database.synchronous_commit listeners.additional_resources listeners.request_id_header
    presence.include_offline_users_on_sync presence.last_active_granularity presence.presence_router
    presence.sync_online_timeout
    """
)

# Features that are still to come; leaving them out makes the server allow or keep more than is wanted.
NOT_YET_ENFORCED = words(
    """
    account_validity alias_creation_rules allow_underscore_prefixed_localpart allowed_avatar_mimetypes
    allowed_local_3pids auto_join_rooms_for_guests block_non_admin_invites delete_stale_devices_after
    enable_registration_captcha enable_registration_token_3pid_bypass enable_room_list_search
    exclude_rooms_from_sync hs_disabled hs_disabled_message inhibit_user_in_use_error limit_usage_by_mau
    mau_appservice_trial_days mau_limit_alerting mau_limit_reserved_threepids mau_stats_only
    mau_trial_days max_avatar_size max_mau_value media_upload_limits modules password_providers
    prevent_media_downloads_from recaptcha_private_key recaptcha_private_key_path recaptcha_public_key
    recaptcha_public_key_path recaptcha_siteverify_api registrations_require_3pid
    request_token_inhibit_3pid_errors require_membership_for_aliases retention room_list_publication_rules
    spam_checker third_party_event_rules use_account_validity_in_account_status user_consent
    """
)

# Old names, and what Trellis cannot leave out of account: the server does not start with one.
REFUSED = {
    "bind_host": "is an old name, use listeners[].bind_addresses",
    "bind_port": "is an old name, use listeners[].port",
    "database_path": "is an old name, use database.args.database",
    "databases": "is not supported, Trellis keeps everything in one database: use database",
    "disable_registration": "is an old name, use enable_registration",
    "federation_ip_range_blacklist": "is an old name, use ip_range_blacklist",
    "federation_rc_concurrent": "is an old name, use rc_federation.concurrent",
    "federation_rc_reject_limit": "is an old name, use rc_federation.reject_limit",
    "federation_rc_sleep_delay": "is an old name, use rc_federation.sleep_delay",
    "federation_rc_sleep_limit": "is an old name, use rc_federation.sleep_limit",
    "federation_rc_window_size": "is an old name, use rc_federation.window_size",
    "perspectives": "is an old name, use trusted_key_servers",
    "rc_message_burst_count": "is an old name, use rc_message.burst_count",
    "rc_messages_per_second": "is an old name, use rc_message.per_second",
    "restrict_public_rooms_to_local_users": "is an old name, use allow_public_rooms_without_auth and "
    "allow_public_rooms_over_federation",
    "signing_key": "is not read from here: put the key into a file and name it in signing_key_path",
    "unsecure_port": "is an old name, use listeners[].port",
    "use_presence": "is an old name, use presence.enabled",
}


def names_below(path: str) -> list[str]:
    """The names of the known keys, old names left out, right below the key `path` (the empty text: at the
    top)."""
    prefix = f"{path}." if path else ""
    return [
        known.removeprefix(prefix)
        for known in (*IGNORED, *NOT_YET, *NOT_YET_ENFORCED)
        if known.startswith(prefix) and "." not in known.removeprefix(prefix)
    ]
