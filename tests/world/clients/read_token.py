"""Reads a token with python-jose and makes one of its own with the same claims and another name.

Arguments: a token. In the environment: KEY, what tokens are signed with. Prints the claims that were read as a line of
JSON, then the token that was made.
"""

import json
import os
import sys

from jose import jwt

key = os.environ["KEY"]
claims = jwt.decode(sys.argv[1], key, algorithms=["HS256"])
print(json.dumps(claims))
print(jwt.encode({**claims, "name": "Näme of jose"}, key, algorithm="HS256"))
