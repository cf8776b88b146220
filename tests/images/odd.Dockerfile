# All that layers can do to each other and that a file can be, made by a real builder; compared file by file with what umoci unpacks.
# debian: passwd attr libcap2-bin
FROM scratch
ADD rootfs.tar /
# Files of all sorts.
RUN mkdir -p /odd/opaque/deep /odd/gone/deep /odd/types && cd /odd \
    && for name in 1 2 3; do echo "$name" >opaque/"$name"; echo "$name" >opaque/deep/"$name"; echo "$name" >gone/deep/"$name"; done \
    && echo file >types/file-to-directory && mkdir types/directory-to-file && touch types/directory-to-file/inside \
    && ln -s file types/link-to-directory && mkdir types/directory-to-link && mkfifo types/fifo-to-file && touch types/file-to-fifo \
    && echo linked >first && ln first second && ln first third && ln -s nowhere dangling && ln dangling dangling-too \
    && mknod null c 1 3 && mknod loop b 7 300 && mkfifo fifo && truncate -s 40M sparse && echo end >>sparse \
    && cp /bin/true setuid && chmod 6755 setuid && mkdir sticky && chmod 3777 sticky && touch nothing && chmod 0 nothing \
    && cp /bin/true capable && setcap cap_net_raw,cap_sys_admin+ep capable \
    && cp -a capable capable-still && setcap cap_net_bind_service+ep capable-still && setfattr -n user.note -v kept capable-still \
    && touch noted && setfattr -n user.note -v 'some text' noted && setfattr -n user.empty noted && setfattr -n user.note -v d sticky \
    && touch far && chown 4000000000:3000000000 far && touch -d '1969-12-31 23:59:59.5Z' before && touch -d '2040-02-29' after \
    && long=$(printf '%0250d' 7) && touch "$long" && mkdir -p "$long-d/$long-d/$long-d" && touch "$long-d/$long-d/$long-d/$long" \
    && ln -s "$long/$long/$long" long-link && touch 'blank and "quote"' "$(printf 'new\nline')" "$(printf '\303\274 \377')"
# Deletions, an opaque directory, other types, links across layers.
RUN cd /odd && rm -r opaque gone/deep/1 && mkdir opaque && echo new >opaque/4 && rm second && ln third fourth \
    && rm types/file-to-directory && mkdir types/file-to-directory && touch types/file-to-directory/inside \
    && rm -r types/directory-to-file && echo file >types/directory-to-file \
    && rm types/link-to-directory && mkdir types/link-to-directory && touch types/link-to-directory/inside \
    && rmdir types/directory-to-link && ln -s ../opaque types/directory-to-link \
    && rm types/fifo-to-file && touch types/fifo-to-file && rm types/file-to-fifo && mkfifo types/file-to-fifo
# Only what a file is changes, then it comes back after it was gone.
RUN cd /odd && chmod 700 sticky && chown 7:8 first && setfattr -x user.note noted && setcap -r capable && rm -r gone
RUN cd /odd && mkdir gone && echo again >gone/again && touch -d '2001-02-03 04:05:06.789' gone gone/again && rm -rf /usr/share/man
CMD ["ls", "-lR", "/odd"]
