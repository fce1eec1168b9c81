"""The code of Thespian 4.0.1 that we replace or rely on, by hash: a new version must not slip in unseen."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Mapping

PINNED: Mapping[str, str] = {
    "thespian.system.transport.TCPTransport:TCPTransport.__init__": "eabcf02e37125c2a",
    "thespian.system.transport.TCPTransport:TCPTransport.close": "86220b2205ead869",
    "thespian.system.transport.TCPTransport:TCPTransport.external_transport_clone": "7acdff9fe825098a",
    "thespian.system.transport.TCPTransport:TCPTransport.getAdminAddr": "ffc171dcb2ec3ace",
    "thespian.system.transport.TCPTransport:TCPTransport.getConventionAddress": "38ddbb381eff2de4",
    "thespian.system.transport.TCPTransport:TCPTransport.prepEndpoint": "01b550f3ddf816ed",
    "thespian.system.transport.TCPTransport:TCPTransport.childResetFileNumList": "c6a607d8a66fd498",
    "thespian.system.transport.TCPTransport:TCPTransport.serializer": "edad38c6ae18f32d",
    "thespian.system.transport.TCPTransport:TCPTransport.set_watch": "11ec07a8346e2ea0",
    "thespian.system.transport.TCPTransport:TCPTransport.abort_run": "79d5f23232e14708",
    "thespian.system.transport.TCPTransport:TCPTransport.interrupt_wait": "d6e244ff38a72747",
    "thespian.system.transport.TCPTransport:TCPTransport.deadAddress": "9201bfcc39ea8922",
    "thespian.system.transport.TCPTransport:TCPTransport._runWithExpiry": "5a6c512c48e9fd0a",
    "thespian.system.transport.TCPTransport:TCPTransport._acceptNewIncoming": "eb6c9359870cc547",
    "thespian.system.transport.TCPTransport:TCPTransport._handleReadableIncoming": "7e38436b43ee8783",
    "thespian.system.transport.TCPTransport:TCPTransport._addedDataToIncoming": "7e2ca3a3f386e2be",
    "thespian.system.transport.TCPTransport:TCPTransport._processReceivedEnvelope": "f2d1ceb3d5f36c56",
    "thespian.system.transport.TCPTransport:TCPTransport._check_indicators": "d21a89c2b1d05726",
    "thespian.system.transport.TCPTransport:TCPTransport._nextTransmitStep": "fa4e33734d50e955",
    "thespian.system.transport.TCPTransport:TCPTransport._nextTransmitStepCheck": "58074f46110391a9",
    "thespian.system.transport.TCPTransport:TCPTransport._next_XMIT_1": "f25e978fdce5d56d",
    "thespian.system.transport.TCPTransport:TCPTransport._next_XMIT_2": "67f5dc3b7dc1ff39",
    "thespian.system.transport.TCPTransport:TCPTransport._next_XMIT_3": "5f5ff30046f7a92e",
    "thespian.system.transport.TCPTransport:TCPTransport._next_XMIT_4": "e41dc7486dd32f0d",
    "thespian.system.transport.TCPTransport:TCPTransport._next_XMIT_5": "33d2821eea2907be",
    "thespian.system.transport.TCPTransport:TCPTransport._next_XMIT_6": "c4e0df7fdb0cd54b",
    "thespian.system.transport.TCPTransport:TCPTransport._check_XMIT_4_done": "61163ba5b1d07029",
    "thespian.system.transport.TCPTransport:TCPTransport._finishIntent": "bd2b2135d3e1a7f3",
    "thespian.system.transport.TCPTransport:TCPTransport._processIntents": "ad3cc2f41f844085",
    "thespian.system.transport.TCPTransport:TCPTransport._processIntentTimeouts": "c61b40adc4d5f5a7",
    "thespian.system.transport.TCPTransport:TCPTransport._updateStatusResponse": "fe5e0eeafdf100b6",
    "thespian.system.transport.TCPTransport:TCPEndpoint": "05fa9bcdc76c9178",
    "thespian.system.transport.TCPTransport:TCPIncoming_Common": "b92f69e7590bccfc",
    "thespian.system.transport.TCPTransport:_safeSocketShutdown": "03207631c276922d",
    "thespian.system.transport.asyncTransportBase:asyncTransportBase": "f0d0fa8672eb23d7",
    "thespian.system.transport.asyncTransportBase:exclusive_processing": "cb7663d4e4fe71f9",
    "thespian.system.transport.wakeupTransportBase:wakeupTransportBase": "4bceb909697c8118",
    "thespian.system.transport:TransmitIntent": "76dd884b92bad60d",
    "thespian.system.transport:ReceiveEnvelope": "262f9c28dfd11f2d",
    "thespian.system.transport:PauseWithBackoff": "39138f8ab2290df5",
    "thespian.system.transport.streamBuffer:ReceiveBuffer": "fb8eefa6c4271c2f",
    "thespian.system.transport.IPBase:IPActorAddress": "8841b3ba16d55ecd",
    "thespian.system.multiprocCommon:startAdmin": "7ed08672cf9706e9",
    "thespian.system.multiprocCommon:_startLogger": "b873b5948a986423",
    "thespian.system.multiprocCommon:startASLogger": "6299a3569600b855",
    "thespian.system.multiprocCommon:startChild": "607959bb35500ad9",
    "thespian.system.multiprocCommon:detach_child": "21972a437e0d0163",
    "thespian.system.multiprocCommon:MultiProcReplicator": "fbaed4d8e7d99d2d",
    "thespian.system.logdirector:startupASLogger": "927620b7a7fdc3fa",
    "thespian.system.logdirector:ThespianLogForwardHandler": "d6132ce7952e594c",
    "thespian.system.systemCommon:systemCommonBase": "35c822c084a7356a",
    "thespian.system.actorManager:ActorManager": "bf39014ea9977d66",
    "thespian.system.admin.adminCore:AdminCore": "3cea80e06d0867ca",
    "thespian.system.admin.globalNames:GlobalNamesAdmin": "181fdeaac58457a2",
    "thespian.system.utilis:thesplog": "36ec828f54673d4e",
    "thespian.system.utilis:thesplog_control": "f312d8429356b700",
    "thespian.actors:WakeupMessage": "5de1bfad2b0383b2",
    "thespian.actors:ThespianWatch": "f68b714cd52cb730",
}


def fingerprint(name: str) -> str:
    """Hash of the source of a function or class; "missing" when there is none of that name (`module:Class.method`)."""
    module, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in path.split("."):
            found = inspect.getattr_static(found, part)
        source = inspect.getsource(getattr(found, "__func__", found))  # type: ignore[arg-type]
    except (ImportError, AttributeError, OSError):
        return "missing"
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def changed() -> list[str]:
    """The names whose code is not the one that we know."""
    return [name for name, known in PINNED.items() if fingerprint(name) != known]
