from .bundle import bundle as bundle
from .client import pull as pull
from .client import pulled_directions as pulled_directions
from .client import push as push
from .names import place as place
