"""From a search to a network whose accuracy one can quote: certify, export, verify.

python examples/certify_and_export.py
"""

import nas

study = nas.search(budget=2_000, dataset="digits", trials=6, epochs=8)

# A score of the search is one draw. The best two are trained again with fresh seeds; which is
# better is decided on validation images, and that one alone is measured on the test images.
certificate = nas.certify(study, top=2, seeds=2)
winner = certificate.best
print(f"trial {winner.number} of {study.name} is the winner")

# The weights of the certificate: trained on all training images, with the settings that won.
exported = nas.export(winner, "certified-winner", certified=True, force=True)
for line in nas.verify(exported.folder).lines:
    print(line)
