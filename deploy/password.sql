-- The role in use gets the password whose verifier is given; the password itself never travels.

ALTER ROLE CURRENT_USER PASSWORD :'verifier';
