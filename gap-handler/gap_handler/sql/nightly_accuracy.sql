CALL nightly_accuracy()
