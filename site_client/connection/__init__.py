"""The hospital's one way out: from the SuperNode on this machine to the gateway, and nowhere else.

route        where the gateway is, through which proxy, with which certificate
bundle       the app that the coordinator sends has to be this installation's own
forwarder    the steps of one request
explain      what went wrong with a connection, in one line
check        a trial for `fedsurg site doctor`
"""

from site_client.connection.check import check_connection

__all__ = ["check_connection"]
