CALL nightly_cleanup()
