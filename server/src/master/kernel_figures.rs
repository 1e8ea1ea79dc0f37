//! What the kernel has counted of a client's connection, asked while the master still holds its
//! socket: no longer than that can it be asked.

use std::os::fd::AsFd;

use metronome_os::{
    socket::bytes_taken,
    tcp_info::{TcpInfo, TcpPath},
};

use crate::model::{KernelFigures, TcpFigures};

/// Asks the kernel. The socket is that of a connection which is over.
pub(super) fn kernel_figures(socket: impl AsFd) -> KernelFigures {
    KernelFigures {
        bytes_taken: bytes_taken(&socket).ok(),
        tcp: TcpInfo::read(&socket).ok().map(|info| figures(info.path)),
    }
}

fn figures(path: TcpPath) -> TcpFigures {
    let TcpPath {
        rtt_min_ns,
        rtt_smoothed_ns,
        retransmitted,
        reordering_seen,
        received_out_of_order,
        window_limited_ns,
        delivery_bytes_per_s,
        path_mtu,
    } = path;
    TcpFigures {
        rtt_min_ns,
        rtt_smoothed_ns,
        retransmitted,
        reordering_seen,
        received_out_of_order,
        window_limited_ns,
        delivery_bytes_per_s,
        path_mtu,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{Shutdown, TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn a_connection_that_its_peer_has_ended_has_its_figures_until_its_socket_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        peer.write_all(&[7; 96]).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(socket.read_to_end(&mut Vec::new()).unwrap(), 96);
        socket.shutdown(Shutdown::Both).unwrap();
        drop(peer);
        let figures = kernel_figures(&socket);
        assert_eq!(figures.bytes_taken, Some(96));
        let tcp = figures.tcp.unwrap();
        assert!(
            tcp.rtt_min_ns.is_some() && tcp.retransmitted.is_some(),
            "{tcp:?}"
        );
    }

    #[test]
    fn what_is_no_connection_has_none() {
        let file = tempfile::tempfile().unwrap();
        let figures = kernel_figures(&file);
        assert_eq!((figures.bytes_taken, figures.tcp), (None, None));
    }
}
