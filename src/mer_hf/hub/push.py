from mer_hf.hub import HubError, check_login, fetch, push  # noqa: F401
