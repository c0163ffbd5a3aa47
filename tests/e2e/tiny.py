"""The smallest model that trains."""


def tiny(replicas: int) -> str:
    """Its spec, on as many ranks."""
    return f"""
let replicas = {replicas}

grid all {{
  dense = dp:replicas
}}

module language : gpt {{
  layers     = 1
  hidden     = 32
  vocabulary = 64
  attention  = {{ heads = 2 }}
}}

schedule no_pipelining {{
  sequence = 16
}}
"""
