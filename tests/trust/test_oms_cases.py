"""The conformance list of OpenSSF Model Signing: each case is a test here, or says why it is none.

The names are those of `conformance/TEST_CASES.md` in the copy of the specification that was read
(31 roundtrip and 48 verify cases). Where a case asks about folders of any form, a bundle answers:
its manifest is a closed list of files.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from trust import test_oms, test_served

ONE_FILE = "a bundle is a folder of several files, never one file"
CLOSED = (
    "the manifest is a closed list: no file of a bundle is passed over, and none may lie beside it "
    "but signatures and receipts"
)
NAMES = "a bundle's names are plain ASCII: the manifest refuses this one before a signature is read"
NETWORK = "signing asks Sigstore over the network; seatrial verifies what others signed so"
FROZEN = "the specification's frozen files are not here; its vector of this method is verified"
OLDER = "the format before 1.0, which the specification leaves to verifiers"
NO_FLAG = "there is no flag to pass over files that were not signed"

ROUNDTRIP: Mapping[str, str] = {
    "key-simple": "test_keys_both_ways",
    "certificate-simple": "test_certificates_both_ways",
    "key-multi-file": "test_keys_both_ways",
    "certificate-multi-file": "test_certificates_both_ways",
    "certificate-self-signed": "test_a_certificate_that_is_its_own_authority",
    "key-single-file": ONE_FILE,
    "key-ignore-paths": CLOSED,
    "key-ignore-unsigned": NO_FLAG,
    "key-default-ignores": CLOSED,
    "key-dotfile-included": NAMES,
    "key-files-in-hidden-dir": NAMES,
    "key-empty-file": "test_keys_both_ways",
    "key-binary-content": "test_keys_both_ways",
    "key-unicode-filename": NAMES,
    "key-special-chars-path": NAMES,
    "key-p384": "test_keys_both_ways",
    "key-p521": "test_keys_both_ways",
    "key-p256": "test_keys_both_ways",
    "key-nested-git-not-excluded": CLOSED,
    "key-ignore-paths-exact-match": CLOSED,
    "key-simple-deterministic": "test_the_same_bundle_has_the_same_statement",
    "key-sig-inside-model": "test_what_is_written_passes_the_schemas",
    "key-empty-model-rejected": "test_a_folder_that_is_no_bundle_is_not_signed",
    "key-symlink-default-rejected": "test_a_folder_that_is_no_bundle_is_not_signed",
    "key-symlink-outside-root": "test_a_folder_that_is_no_bundle_is_not_signed",
    "key-symlink-cycle": "test_a_folder_that_is_no_bundle_is_not_signed",
    "sigstore-simple": NETWORK,
    "sigstore-multi-file": NETWORK,
    "sigstore-ignore-paths": NETWORK,
    "sigstore-single-file": NETWORK,
    "sigstore-sig-inside-model": NETWORK,
}
VERIFY: Mapping[str, str] = {
    "key-simple": "test_valid_vectors_are_read",
    "certificate-simple": "test_the_certificate_of_the_vectors_leads_to_its_root",
    "key-multi-file": "test_keys_both_ways",
    "key-ignore-paths": CLOSED,
    "key-single-file": ONE_FILE,
    "key-simple-ignore-unsigned-files": NO_FLAG,
    "key-simple-go": "test_what_a_signature_calls_its_key_does_not_matter",
    "certificate-simple-go": "test_certificates_both_ways",
    "historical-v0.2.0-certificate": OLDER,
    "historical-v0.3.1-elliptic-key": "test_a_key_that_is_named_by_its_bytes_is_found_by_trying",
    "historical-v0.3.1-certificate": FROZEN,
    "historical-v1.0.0-elliptic-key": "test_a_key_that_is_named_by_its_bytes_is_found_by_trying",
    "historical-v1.0.0-certificate": FROZEN,
    "historical-v1.0.1-elliptic-key": FROZEN,
    "historical-v1.0.1-certificate": FROZEN,
    "historical-v1.1.0-elliptic-key": FROZEN,
    "historical-v1.1.0-certificate": FROZEN,
    "historical-v0.3.1-sigstore": FROZEN,
    "historical-v1.0.0-sigstore": FROZEN,
    "historical-v1.0.1-sigstore": FROZEN,
    "historical-v1.1.0-sigstore": FROZEN,
    "key-simple-tampered-content_fail": "test_what_the_command_refuses_is_refused",
    "key-simple-wrong-key_fail": "test_keys_both_ways",
    "key-simple-missing-file_fail": "test_what_the_command_refuses_is_refused",
    "key-simple-extra-file_fail": "test_what_the_command_refuses_is_refused",
    "certificate-simple-wrong-ca_fail": "test_certificates_both_ways",
    "key-simple-corrupted-bundle_fail": "test_a_file_that_ends_too_early_is_refused",
    "key-simple-truncated-bundle_fail": "test_a_file_that_ends_too_early_is_refused",
    "key-simple-wrong-mediatype_fail": "test_an_envelope_of_another_form_is_refused",
    "key-simple-no-signature_fail": "test_an_envelope_of_another_form_is_refused",
    "malformed-empty-bundle_fail": "test_a_file_that_ends_too_early_is_refused",
    "malformed-missing-envelope_fail": "test_an_envelope_of_another_form_is_refused",
    "malformed-wrong-predicate_fail": "test_a_statement_of_another_form_is_refused",
    "certificate-expired_fail": "test_a_certificate_counts_within_its_validity",
    "key-verify-as-certificate_fail": "test_methods_do_not_stand_for_each_other",
    "sigstore-wrong-identity_fail": "test_sigstore_vouches_for_whom_it_certified",
    "sigstore-wrong-issuer_fail": "test_sigstore_vouches_for_whom_it_certified",
    "sigstore-verify-as-key_fail": "test_methods_do_not_stand_for_each_other",
    "sigstore-tampered-content_fail": ("test_sigstore_vouches_for_whom_it_certified"),
    "certificate-verify-as-key_fail": "test_methods_do_not_stand_for_each_other",
    "key-simple-wrong-payload-type_fail": "test_an_envelope_of_another_form_is_refused",
    "key-simple-wrong-statement-type_fail": "test_a_statement_of_another_form_is_refused",
    "key-simple-empty-resources_fail": "test_a_statement_of_another_form_is_refused",
    "key-simple-missing-serialization_fail": "test_a_statement_of_another_form_is_refused",
    "key-tampered-with-ignore-unsigned_fail": NO_FLAG,
    "key-missing-file-with-ignore-unsigned_fail": NO_FLAG,
    "key-verify-as-sigstore_fail": "test_methods_do_not_stand_for_each_other",
    "certificate-verify-as-sigstore_fail": "test_methods_do_not_stand_for_each_other",
}


@pytest.mark.parametrize(("cases", "count"), [(ROUNDTRIP, 31), (VERIFY, 48)])
def test_each_case_is_a_test_or_says_why_it_is_none(cases: Mapping[str, str], count: int) -> None:
    assert len(cases) == count
    for case, where in cases.items():
        if " " not in where:
            assert hasattr(test_oms, where) or hasattr(test_served, where), case
